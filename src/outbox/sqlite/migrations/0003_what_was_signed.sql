-- What was signed together with its time, so that a copy is known whatever its unsigned parts say. An event that its sender
-- signed anew has several. They go with their event.
CREATE TABLE signed (
    bridge TEXT    NOT NULL,
    digest BLOB    NOT NULL,                      -- 16 bytes that tell what was signed
    event  INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
    PRIMARY KEY (bridge, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX signed_event ON signed (event);
