-- For a statement that reads history by time: sessions otherwise have these plans off (see SESSION_SETTINGS).
SELECT set_config('enable_bitmapscan', 'on', true), set_config('enable_seqscan', 'on', true)
