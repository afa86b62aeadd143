-- This replica leaves.
DELETE FROM member WHERE owner = $1::uuid
