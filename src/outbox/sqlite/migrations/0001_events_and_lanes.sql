-- The outbox: what came in, what is owed for it, what was tried, and the order in between.
-- Times are microseconds since 1970, UTC. A row's `number` is the order in which it was kept.

-- One authentic webhook. Repeats are found by bridge, id and body_hash; ids are remembered longer than bodies.
CREATE TABLE event (
    number      INTEGER PRIMARY KEY,
    bridge      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    id_is       TEXT    NOT NULL CHECK (id_is IN ('sender', 'body')),  -- whose id: the sender's, or a digest of the body
    body_hash   BLOB    NOT NULL,                                      -- SHA-256 of body
    kind        TEXT    NOT NULL,
    happened    INTEGER NOT NULL,
    received    INTEGER NOT NULL,
    kept        INTEGER NOT NULL,
    routed      INTEGER NOT NULL,                                      -- 1: a route took it
    title       TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    link        TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    state       TEXT,
    subject     TEXT    NOT NULL,
    header      TEXT    NOT NULL,                                      -- JSON object
    query       TEXT    NOT NULL,                                      -- JSON object
    body        BLOB                                                   -- as received; NULL once it was pruned
) STRICT;

CREATE INDEX event_identity ON event (bridge, id, body_hash);

-- One conversation's order. Lanes are kept when they are empty: epoch, cursor and position go on.
CREATE TABLE lane (
    number        INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    last_position INTEGER NOT NULL,               -- the highest that was given
    due           INTEGER,                        -- when its head may be sent; NULL: nothing waits, or its head is in hand
    in_hand       INTEGER,                        -- the number of the delivery whose request is under way
    rests_until   INTEGER,                        -- its pace: nothing before this moment
    waits_for     TEXT,                           -- why its head was not taken at the last attempt, in words
    epoch         INTEGER NOT NULL DEFAULT 0,     -- grows with each claim
    owner         TEXT,                           -- who holds it, where several processes may
    leased_until  INTEGER,
    cursor        INTEGER,                        -- read-back: seqs up to this one were read
    holes         TEXT                            -- read-back: JSON, seqs below the cursor's news that were not there yet
) STRICT;

CREATE INDEX lane_due ON lane (due) WHERE due IS NOT NULL;

-- The promise to bring one message to one conversation.
CREATE TABLE delivery (
    number        INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL UNIQUE,        -- UUID, 16 bytes
    event         INTEGER NOT NULL REFERENCES event,
    lane          INTEGER NOT NULL REFERENCES lane,
    position      INTEGER,                        -- in its lane; NULL: it holds no place (unrendered)
    state         TEXT    NOT NULL,
    due           INTEGER NOT NULL,               -- not before this moment
    kept          INTEGER NOT NULL,
    expires       INTEGER,
    destination   TEXT    NOT NULL,
    conversation  TEXT    NOT NULL,
    form          INTEGER NOT NULL,               -- how `message` is to be read
    message       TEXT,                           -- JSON; NULL: unrendered
    reason        TEXT,                           -- why it ended without success, or was not rendered
    sends         INTEGER NOT NULL DEFAULT 1,     -- names the send in the operationID: stays over its retries
    attempts      INTEGER NOT NULL DEFAULT 0,     -- the number of the last one
    first_attempt INTEGER,                        -- when the first one of this round began: the horizon counts from here
    seq           INTEGER                         -- where OpenIM stored it
) STRICT;

CREATE INDEX delivery_event ON delivery (event);
CREATE INDEX delivery_open ON delivery (lane, position) WHERE state IN ('waiting', 'sending');
CREATE INDEX delivery_oldest ON delivery (kept) WHERE state IN ('waiting', 'sending');

-- One try to send it, written before the request is: one without an end is ambiguous.
CREATE TABLE attempt (
    delivery     INTEGER NOT NULL REFERENCES delivery,
    number       INTEGER NOT NULL,
    operation_id TEXT    NOT NULL,
    began        INTEGER NOT NULL,
    ended        INTEGER,
    outcome      TEXT,                            -- accepted, refused, dead, later, ambiguous
    verdict      TEXT,                            -- what was seen, in words
    receipt      TEXT,                            -- JSON: OpenIM's answer
    evidence     TEXT,                            -- what settled it, when its outcome was not known
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- How many there are, so that nobody has to count. The triggers keep it right whoever writes.
CREATE TABLE tally (
    what TEXT    PRIMARY KEY,                     -- `events`, `unrouted`, or a delivery's state
    many INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tally (what, many) VALUES
    ('events', 0), ('unrouted', 0), ('waiting', 0), ('sending', 0), ('accepted', 0), ('stored', 0),
    ('refused', 0), ('dead', 0), ('unrendered', 0), ('cancelled', 0);

CREATE TRIGGER event_came AFTER INSERT ON event BEGIN
    UPDATE tally SET many = many + 1 WHERE what = 'events';
    UPDATE tally SET many = many + 1 WHERE what = 'unrouted' AND NEW.routed = 0;
END;

CREATE TRIGGER event_was_routed AFTER UPDATE OF routed ON event WHEN OLD.routed <> NEW.routed BEGIN
    UPDATE tally SET many = many + OLD.routed - NEW.routed WHERE what = 'unrouted';
END;

CREATE TRIGGER event_went AFTER DELETE ON event BEGIN
    UPDATE tally SET many = many - 1 WHERE what = 'events';
    UPDATE tally SET many = many - 1 WHERE what = 'unrouted' AND OLD.routed = 0;
END;

CREATE TRIGGER delivery_came AFTER INSERT ON delivery BEGIN
    UPDATE tally SET many = many + 1 WHERE what = NEW.state;
END;

CREATE TRIGGER delivery_moved AFTER UPDATE OF state ON delivery WHEN OLD.state <> NEW.state BEGIN
    UPDATE tally SET many = many - 1 WHERE what = OLD.state;
    UPDATE tally SET many = many + 1 WHERE what = NEW.state;
END;

CREATE TRIGGER delivery_went AFTER DELETE ON delivery BEGIN
    UPDATE tally SET many = many - 1 WHERE what = OLD.state;
END;
