SELECT
    lower(email) AS email,
    first_name,
    last_name,
    plan,
    seats,
    signed_up_at
FROM customers
WHERE email IS NOT NULL
-- Customers may share an address; Mailchimp has one member for it. The latest one gives the values.
QUALIFY row_number() OVER (PARTITION BY lower(email) ORDER BY updated_at DESC NULLS LAST, id) = 1
