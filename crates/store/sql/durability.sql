-- The settings that decide whether what was committed survives a crash, as this session has them.
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       current_setting('enable_seqscan') AS enable_seqscan
