-- The post $1 that $2 holds is over.
DELETE FROM tls_post WHERE id = $1::bigint AND holder = $2::uuid RETURNING id
