//! Every statement by the name of its file in `crates/store/sql/`; a test prepares each against a migrated database.
//! `ddl` holds what cannot be prepared. Not responsible for running them.

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../sql/", $file, ".sql"));)*

        /// Every file named here.
        #[cfg(test)]
        const FILES: &[&str] = &[$(concat!($file, ".sql")),*];
    };
}

statements! {
    ACCEPT = "accept";
    ACCEPTED_BEFORE = "accepted_before";
    ACCOUNT = "account";
    ACCOUNTS = "accounts";
    ADDRESSES = "addresses";
    ALLOW_SCANS = "allow_scans";
    AUDIT = "audit";
    AUDIT_HELD = "audit_held";
    BODIES = "bodies";
    BODY_CHUNK = "body_chunk";
    CENSUS = "census";
    CLAIM_TLS_REPORTS = "claim_tls_reports";
    COUNT_TLS_BATCH = "count_tls_batch";
    COUNT_TLS_FAILURES = "count_tls_failures";
    COUNT_TLS_REPORTS = "count_tls_reports";
    COUNT_TLS_SESSIONS = "count_tls_sessions";
    DELETE_ACCOUNT = "delete_account";
    DELETE_ADDRESS = "delete_address";
    DELETE_ORPHANS = "delete_orphans";
    DELETE_RULE = "delete_rule";
    DELETE_TOKEN = "delete_token";
    DROP_BODY = "drop_body";
    DROP_TLS_POST = "drop_tls_post";
    DURABILITY = "durability";
    FETCH = "fetch";
    FIND_ADDRESSES = "find_addresses";
    FIND_STS_POLICY = "find_sts_policy";
    FIND_SUPPRESSED = "find_suppressed";
    FINISH_DELIVERED = "finish_delivered";
    FINISH_TLS_REPORT = "finish_tls_report";
    FORGET_LOGIN_FAILURES = "forget_login_failures";
    HEARTBEAT = "heartbeat";
    HOLD = "hold";
    KEEP_STS_POLICY = "keep_sts_policy";
    KNOWN_TLS_POLICIES = "known_tls_policies";
    LEASE_NODE = "lease_node";
    LEAVE = "leave";
    LIST = "list";
    LOAD = "load";
    LOCK_BODIES = "lock_bodies";
    LOCK_DELIVERIES = "lock_deliveries";
    LOCK_PARTS = "lock_parts";
    LOGIN_FAILED = "login_failed";
    MAKE_TOKEN = "make_token";
    MEMBERS = "members";
    MISSING_PARTITIONS = "missing_partitions";
    OLD_PARTITIONS = "old_partitions";
    OLDEST_TRANSACTION = "oldest_transaction";
    ORPHAN_BODIES = "orphan_bodies";
    PARTITION_LOCK = "partition_lock";
    PUT_ACCOUNT = "put_account";
    PUT_ADDRESS = "put_address";
    PUT_HELD = "put_held";
    PUT_PARTS = "put_parts";
    PUT_RULE = "put_rule";
    PUT_TLS_POSTS = "put_tls_posts";
    RECORD = "record";
    RELEASE = "release";
    RELEASE_HELD = "release_held";
    RENEW = "renew";
    REROUTE = "reroute";
    RETRY_NOW = "retry_now";
    RETRY_TLS_POST = "retry_tls_post";
    RETURN_ALLOWANCE = "return_allowance";
    RULES = "rules";
    SCHEMA_CHECKSUM = "schema_checksum";
    SCHEMA_EXISTS = "schema_exists";
    SCHEMA_LOCK = "schema_lock";
    SCHEMA_PATIENCE = "schema_patience";
    SCHEMA_RECORD = "schema_record";
    SCHEMA_ROWS = "schema_rows";
    SECRET = "secret";
    SETTLE = "settle";
    SHARD_MAP = "shard_map";
    SHOW = "show";
    SUPPRESS = "suppress";
    SUPPRESSING_TENANTS = "suppressing_tenants";
    SUPPRESSIONS = "suppressions";
    SWEEP_POOL_DAYS = "sweep_pool_days";
    SWEEP_RULES = "sweep_rules";
    SWEEP_STS_POLICIES = "sweep_sts_policies";
    SWEEP_SUPPRESSIONS = "sweep_suppressions";
    SWEEP_TLS = "sweep_tls";
    TAKE_ALLOWANCE = "take_allowance";
    TAKE_SHARDS = "take_shards";
    TAKE_TLS_POSTS = "take_tls_posts";
    TELL = "tell";
    TLS_COUNTS = "tls_counts";
    TOKENS = "tokens";
    TOKEN_USED = "token_used";
    TRACE_ADDRESS = "trace_address";
    TRACE_FIELD = "trace_field";
    TRACE_MESSAGE = "trace_message";
    UNLOCK_LOGIN = "unlock_login";
    UNSUPPRESS = "unsuppress";
    DDL_DROP_PARTITION = "ddl/drop_partition";
    DDL_MAKE_PARTITION = "ddl/make_partition";
    DDL_SCHEMA_VERSION = "ddl/schema_version";
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::FILES;

    #[test]
    fn every_file_is_named_and_says_what_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
        let mut found = Vec::new();
        for (folder, prefix) in [(folder.clone(), ""), (folder.join("ddl"), "ddl/")] {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if name.ends_with(".sql") {
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    assert!(text.starts_with("-- "), "{name} opens with what it is for");
                    found.push(format!("{prefix}{name}"));
                }
            }
        }
        found.sort();
        let mut named = FILES.to_vec();
        named.sort_unstable();
        assert_eq!(found, named);
    }
}
