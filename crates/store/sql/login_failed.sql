-- Counts a failed login of the account and of the client; a window that is over begins anew.
INSERT INTO login_failure (subject, failures, window_began)
VALUES ('account:' || $1::text, 1, $3::timestamptz), ('client:' || $2::text, 1, $3::timestamptz)
ON CONFLICT (subject) DO UPDATE SET
    failures = CASE WHEN login_failure.window_began > $4::timestamptz THEN login_failure.failures + 1 ELSE 1 END,
    window_began = CASE WHEN login_failure.window_began > $4::timestamptz THEN login_failure.window_began ELSE excluded.window_began END
