-- Sweeps failed logins whose window is over.
DELETE FROM login_failure WHERE window_began <= $1::timestamptz
