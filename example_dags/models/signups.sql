SELECT
    id,
    name,
    company,
    plan,
    mrr
FROM signups
