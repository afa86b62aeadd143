-- A page of recipients.
SELECT pattern, targets FROM address WHERE pattern > $1::text ORDER BY pattern LIMIT $2::bigint
