-- What has been open for the longest, for whom a step of the schema waits: a dump, a forgotten session.
SELECT pid, coalesce(application_name, '') AS application_name,
       extract(epoch FROM clock_timestamp() - xact_start)::bigint AS open_seconds
  FROM pg_stat_activity
 WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
 ORDER BY xact_start
 LIMIT 1
