SELECT
    id,
    email,
    first_name,
    last_name,
    company,
    plan,
    seats,
    mrr,
    country,
    coalesce(updated_at, signed_up_at) AS updated_at
FROM customers
WHERE plan <> 'free'
