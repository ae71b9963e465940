CREATE TABLE steward.mask_rule (
    role      regrole NOT NULL,
    class     text NOT NULL CHECK (class <> ''),            -- '*': every class
    mask      text NOT NULL CHECK (mask IN ('partial', 'hide', 'hash', 'pseudonym', 'generalize', 'none')),
    prefix    int CHECK (prefix BETWEEN 0 AND 64),
    suffix    int CHECK (suffix BETWEEN 0 AND 64),
    predicate text NOT NULL DEFAULT 'masked' CHECK (predicate IN ('masked', 'equal', 'deny')),
    PRIMARY KEY (role, class)
);
