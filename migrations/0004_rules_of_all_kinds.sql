-- Rules about other things than destinations, providers and tenants.
--
-- Why: an operator can suspend everything, and more kinds will follow. Which there are is the programs' to know: they
-- refuse what they do not know when an operator says it, and leave alone, with a warning, what a newer program stored.
-- Locks: `rule` for a moment; it is read every few seconds and never by mail on its way.
-- Beside the version before: it does not keep to rules of kinds that it does not know.

ALTER TABLE rule DROP CONSTRAINT rule_kind_check;
