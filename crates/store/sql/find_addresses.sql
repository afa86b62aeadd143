-- The recipients among some patterns that are known, and who gets their mail.
SELECT pattern, targets FROM address WHERE pattern = ANY ($1::text[])
