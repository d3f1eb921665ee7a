-- What was signed together with its time, so that a copy is known whatever its unsigned parts say. An event that its sender
-- signed anew has several. They go with their event, also when a program that does not know them removes it.
CREATE TABLE signed (
    bridge TEXT   NOT NULL,
    digest BYTEA  NOT NULL,                        -- 16 bytes that tell what was signed
    event  BIGINT NOT NULL REFERENCES event ON DELETE CASCADE,
    PRIMARY KEY (bridge, digest)
);

CREATE INDEX signed_event ON signed (event);
