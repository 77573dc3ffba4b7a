SELECT
    event_id,
    customer_id,
    name,
    happened_at,
    properties ->> 'source' AS source,
    CAST(properties ->> 'count' AS INTEGER) AS count
FROM usage_events
