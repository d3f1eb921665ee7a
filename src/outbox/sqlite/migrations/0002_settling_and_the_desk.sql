-- Reading back, windows, holds, folding; and what the desk needs to find things without reading everything.

ALTER TABLE lane ADD COLUMN look         INTEGER;   -- when to look at OpenIM; NULL: nothing is unsettled
ALTER TABLE lane ADD COLUMN look_newest  INTEGER;   -- when the latest acceptance wants to be looked for, since the lane was settled
ALTER TABLE lane ADD COLUMN stopped      INTEGER NOT NULL DEFAULT 0;  -- 1: a loss was proven, nothing new until all is decided
ALTER TABLE lane ADD COLUMN held         TEXT;      -- why it waits for an operator; NULL: it does not
ALTER TABLE lane ADD COLUMN held_for_one INTEGER NOT NULL DEFAULT 0;  -- 1: no operator said so; it ends when nothing in it is held

CREATE INDEX lane_look ON lane (look) WHERE look IS NOT NULL;
CREATE INDEX lane_held ON lane (number) WHERE held IS NOT NULL;

-- How far a conversation of a lane was read. `lane.cursor` and `lane.holes` were never used.
CREATE TABLE cursor (
    lane         INTEGER NOT NULL REFERENCES lane,
    conversation TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    holes        TEXT    NOT NULL,               -- JSON: [[seq, since], …]
    PRIMARY KEY (lane, conversation)
) STRICT, WITHOUT ROWID;

ALTER TABLE delivery ADD COLUMN bridge          TEXT    NOT NULL DEFAULT '';  -- its event's, so that lists need no other table
ALTER TABLE delivery ADD COLUMN kind            TEXT    NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN bytes           INTEGER NOT NULL DEFAULT 0;   -- what it adds to the window
ALTER TABLE delivery ADD COLUMN folded          TEXT;                         -- the line that is said when it comes too late
ALTER TABLE delivery ADD COLUMN folds           INTEGER NOT NULL DEFAULT 0;   -- for how many it speaks; 0: only for itself
ALTER TABLE delivery ADD COLUMN unsettled_since INTEGER;                      -- accepted or unclear, and looked for, since then
ALTER TABLE delivery ADD COLUMN missing_since   INTEGER;                      -- a reading has shown a later one and not this one
ALTER TABLE delivery ADD COLUMN held            INTEGER NOT NULL DEFAULT 0;   -- 1: an operator has to decide about it

UPDATE delivery SET
    bridge = (SELECT e.bridge FROM event e WHERE e.number = delivery.event),
    kind   = (SELECT e.kind FROM event e WHERE e.number = delivery.event),
    bytes  = coalesce(length(CAST(message AS BLOB)), 0);

-- The program before this one sent again what was unclear. Now it is settled first. What it called accepted has ended:
-- no cursor says from where on to look for it.
UPDATE delivery SET state = 'sending', unsettled_since = kept
WHERE state = 'waiting' AND first_attempt IS NOT NULL
  AND EXISTS (SELECT 1 FROM attempt a WHERE a.delivery = delivery.number AND a.number = delivery.attempts
                                        AND (a.ended IS NULL OR a.outcome = 'ambiguous'));
UPDATE lane SET look = coalesce(due, 0), due = NULL
WHERE number IN (SELECT lane FROM delivery WHERE unsettled_since IS NOT NULL);

-- The window of a lane, and what is looked for in it.
CREATE INDEX delivery_unsettled ON delivery (lane, state, conversation, bytes) WHERE unsettled_since IS NOT NULL;
CREATE INDEX delivery_unsettled_since ON delivery (unsettled_since, state) WHERE unsettled_since IS NOT NULL;

-- Lists, each in the order of numbers. The state's also knows the oldest that waits.
DROP INDEX delivery_oldest;
CREATE INDEX delivery_state ON delivery (state);
CREATE INDEX delivery_bridge ON delivery (bridge);
CREATE INDEX delivery_kind ON delivery (kind);
CREATE INDEX delivery_destination ON delivery (destination);
CREATE INDEX delivery_conversation ON delivery (conversation);
CREATE INDEX event_bridge ON event (bridge);
CREATE INDEX event_kind ON event (kind);
CREATE INDEX event_unrouted ON event (number) WHERE routed = 0;

-- What is old: its contents go first, much later what is left of it.
CREATE INDEX event_full ON event (kept) WHERE body IS NOT NULL;
CREATE INDEX event_emptied ON event (kept) WHERE body IS NULL;

-- Also counted: `dropped` by OpenIM and sent again, `possible repeats` (sent again without proof).
INSERT INTO tally (what, many) VALUES ('dropped', 0), ('possible repeats', 0);

-- What is remembered about the outbox itself. `epoch`: grows whenever it is opened to be used.
CREATE TABLE mark (
    what  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO mark (what, value) VALUES ('epoch', 0);
