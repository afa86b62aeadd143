-- What operators have ordered for the whole installation.
--
-- Why: an order such as "nothing to example.com until I say so" must hold on every replica, for mail that is not there
-- yet, and after any restart. It is one row, however many deliveries it concerns: owners read the rules every few seconds
-- and apply them in memory. Nothing here is touched by mail on its way.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know this table and needs nothing of it. It does not keep to the rules either:
-- suspend nothing before every replica is new.

-- One order. `action` says what is to be done, `kind` and `name` about what: a destination as deliveries have it, a
-- provider as the configuration names it, a tenant's number. Given again it replaces the one before. Rows whose time is
-- over mean nothing and are swept.
CREATE TABLE rule (
    action     text        NOT NULL CHECK (action IN ('suspend')),
    kind       text        NOT NULL CHECK (kind IN ('destination', 'provider', 'tenant')),
    name       text        NOT NULL CHECK (name <> ''),
    reason     text        NOT NULL,
    created_by text        NOT NULL CHECK (created_by <> ''),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (action, kind, name)
);
