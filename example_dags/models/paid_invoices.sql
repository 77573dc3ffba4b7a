SELECT
    e.event_id,
    e.happened_at,
    c.company,
    c.email,
    c.plan,
    c.seats * c.mrr AS amount
FROM usage_events AS e
JOIN customers AS c ON c.id = e.customer_id
WHERE e.name = 'invoice paid'
