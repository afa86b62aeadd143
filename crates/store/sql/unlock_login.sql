-- Forgets the failed logins of an account.
DELETE FROM login_failure WHERE subject = 'account:' || $1::text
