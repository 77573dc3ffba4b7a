SELECT
    id,
    email,
    first_name,
    last_name,
    plan,
    seats,
    mrr,
    country,
    signed_up_at,
    -- Customers that were never touched have no updated_at. A cursor should not be NULL.
    coalesce(updated_at, signed_up_at) AS updated_at
FROM customers
