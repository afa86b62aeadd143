-- Sweeps policies of MTA-STS that hold no more at $1, and of more than $2 those that were fetched longest ago.
DELETE FROM sts_policy
WHERE expires_at <= $1::timestamptz
   OR domain IN (SELECT domain FROM sts_policy ORDER BY fetched_at DESC, domain OFFSET $2::bigint)
