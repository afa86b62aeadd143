-- Sweeps what was counted and reported on days before $1, batches of workers not heard of since, and posts whose time was
-- over at $2.
WITH sessions AS (
    DELETE FROM tls_session WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date
), failures AS (
    DELETE FROM tls_failure WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date
), reports AS (
    DELETE FROM tls_report WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date
), batches AS (
    DELETE FROM tls_batch WHERE at < $1::timestamptz
)
DELETE FROM tls_post WHERE expires_at <= $2::timestamptz
