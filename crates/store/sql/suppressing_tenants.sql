-- The tenants that have anybody on their lists: from one to the next by the index, however many each has.
WITH RECURSIVE tenant AS (
    (SELECT tenant_id FROM suppression ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT s.tenant_id FROM suppression s WHERE s.tenant_id > t.tenant_id ORDER BY s.tenant_id LIMIT 1)
    FROM tenant t
    WHERE t.tenant_id IS NOT NULL
)
SELECT tenant_id FROM tenant WHERE tenant_id IS NOT NULL
