-- What operators have decided about single deliveries: that one is held, and where its next attempts go.
--
-- Why: a held delivery is neither attempted nor given up for its age until it is released, on any replica and after any
-- restart, so it is a row that every owner sees. Who holds it since when and why is a table of its own: so that those
-- held can be found among millions without looking at the others. The hosts of a delivery's next attempts stand in
-- `retry`, which is read for every attempt but a first one from memory and goes with the delivery anyway: a table of its
-- own would cost one more look-up and one more deletion each.
-- `delivery.flags` tells both at no cost, and keeps such deliveries from the fast settlement, which reads nothing: its
-- DELETE has `flags = 0`, and PostgreSQL looks at that again in the newest version of a row that it has waited for. So a
-- row of `held` or `retry` that is written at that moment is never left behind. Rows of `delivery` are still not updated
-- on their way, only by an operator.
-- Locks: `delivery` and `retry` exclusively for a moment, to add a column each; neither is rewritten.
-- Beside the version before: it needs nothing of this and does not keep to it. It attempts what is held, and ignores a
-- changed route; `trace` and `show` fail there for messages with events of the kinds 7 to 10 (held, released, rerouted,
-- hastened). Hold and reroute nothing before every replica is new.

-- Bits: 1 held, 2 rerouted.
ALTER TABLE delivery ADD COLUMN flags smallint NOT NULL DEFAULT 0;

-- In the order in which they are tried, as an operator writes them; null: where configuration and DNS say.
ALTER TABLE retry ADD COLUMN hosts text[];

-- Deleted with its delivery, or when that is released.
CREATE TABLE held (
    delivery_id bigint      PRIMARY KEY,
    since       timestamptz NOT NULL,
    operator    text        NOT NULL CHECK (operator <> ''),
    reason      text        NOT NULL
);
