-- Masks: what is shown of a value in its place. `mask_value` is for people; `_mask` stands in plans only, where the planner
-- puts it in the place of a masked column.

-- Which mask, as the planner says it to `_mask`. With a number in its place everybody could have pseudonyms made of values
-- of their choice, and so find out whose they are: hence a type that has no input, no casts and no binary form.
CREATE TYPE steward.mask_spec;
CREATE FUNCTION steward._mask_spec_in(cstring) RETURNS steward.mask_spec
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_spec_in';
CREATE FUNCTION steward._mask_spec_out(steward.mask_spec) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_spec_out';
CREATE TYPE steward.mask_spec (INPUT = steward._mask_spec_in, OUTPUT = steward._mask_spec_out, LIKE = pg_catalog.int8);
COMMENT ON TYPE steward.mask_spec IS 'Which mask a column has for a role, in plans: class, mask, and characters kept in front and at the end. Nobody can write one.';
COMMENT ON FUNCTION steward._mask_spec_in(cstring) IS 'Refuses with 0A000: only the planner makes a mask_spec.';
COMMENT ON FUNCTION steward._mask_spec_out(steward.mask_spec) IS 'Shows a mask_spec in EXPLAIN (VERBOSE), e.g. phone partial 3+4.';

CREATE FUNCTION steward._mask(value text, spec steward.mask_spec) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_text';
CREATE FUNCTION steward._mask(value varchar, spec steward.mask_spec) RETURNS varchar
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_text';
CREATE FUNCTION steward._mask(value bpchar, spec steward.mask_spec) RETURNS bpchar
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_text';
CREATE FUNCTION steward._mask(value text[], spec steward.mask_spec) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_text_array';
CREATE FUNCTION steward._mask(value varchar[], spec steward.mask_spec) RETURNS varchar[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_text_array';
CREATE FUNCTION steward._mask(value json, spec steward.mask_spec) RETURNS json
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_json';
CREATE FUNCTION steward._mask(value jsonb, spec steward.mask_spec) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_jsonb';
CREATE FUNCTION steward._mask(value date, spec steward.mask_spec) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_date';
CREATE FUNCTION steward._mask(value timestamp, spec steward.mask_spec) RETURNS timestamp
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_timestamp';
CREATE FUNCTION steward._mask(value timestamptz, spec steward.mask_spec) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_timestamp';
CREATE FUNCTION steward._mask(value int2, spec steward.mask_spec) RETURNS int2
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_int2';
CREATE FUNCTION steward._mask(value int4, spec steward.mask_spec) RETURNS int4
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_int4';
CREATE FUNCTION steward._mask(value int8, spec steward.mask_spec) RETURNS int8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_int8';
CREATE FUNCTION steward._mask(value numeric, spec steward.mask_spec) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_numeric';
CREATE FUNCTION steward._mask(value float8, spec steward.mask_spec) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_float8';
CREATE FUNCTION steward._mask(value uuid, spec steward.mask_spec) RETURNS uuid
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_uuid';
DO $$
DECLARE
    mask regprocedure;
BEGIN
    FOR mask IN SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.proname = '_mask' AND p.pronamespace = 'steward'::regnamespace LOOP
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', mask,
            'What the planner puts in the place of a masked column of this type: the mask of a value, of the same type. NULL where the type has no such mask. Raises nothing; called by nobody else, because nobody else has a mask_spec.');
    END LOOP;
END $$;

CREATE FUNCTION steward.mask_value(class text, value text, mask text DEFAULT 'partial', prefix int DEFAULT NULL, suffix int DEFAULT NULL)
    RETURNS text LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_value';
COMMENT ON FUNCTION steward.mask_value(text, text, text, int, int) IS 'What a mask makes of a value of a class: id_card, phone, name, address, guardian, bank_card, email, birth_date, free_id, score, amount, photo, passport; of any other class nothing is shown unless prefix or suffix say so. mask: partial hide generalize none; hash and pseudonym show *** here (see steward.pseudonym). prefix, suffix: characters kept in front and at the end, 0 to 64, NULL: as many as the class keeps; address: prefix is the number of levels (1 province, 2 city, 3 county). What does not parse becomes ***, NULL stays NULL. Errors: 22023 unknown mask, prefix or suffix out of range. May be called by everybody.';

CREATE FUNCTION steward.pseudonym(class text, value text, mask text DEFAULT 'pseudonym') RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pseudonym';
COMMENT ON FUNCTION steward.pseudonym(text, text, text) IS 'The token that stands for a value of a class under the masks pseudonym (80 bits in base 32) or hash (256 bits in hexadecimal digits): HMAC-SHA-256 with a key that is derived from steward.key_file. Who may call it can find out whose tokens they see, by trying values out. Errors: 55000 no usable steward.key_file; 22023 another mask. Called by those whom EXECUTE was granted; as installed by superusers only.';

CREATE FUNCTION steward.is_id_card(number text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'is_id_card';
COMMENT ON FUNCTION steward.is_id_card(text) IS 'Whether a text is a possible identity number of GB 11643: 15 digits, or 18 characters of which the last follows from the others (ISO 7064 MOD 11-2), with a birth date that exists. Blanks, full-width digits and a small x are accepted. Raises nothing. May be called by everybody.';


CREATE FUNCTION steward.create_masking_view(relation regclass, name text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'create_masking_view_wrapper';
COMMENT ON FUNCTION steward.create_masking_view(regclass, text) IS 'Makes or replaces a view of a table in its schema and returns its name, quoted: columns with a label as steward.mask_value shows their class, of the same type (NULL where a type has no such mask), the others as they are. name: NULL means the name of the table and _public_view. The view belongs to the role steward_masking_view, which nobody logs in as; nobody may read it until SELECT is granted. Labels and columns that change later need another call. Errors: 42809 no table, or something else has the name; 55000 the role steward_masking_view has members or attributes; 22023 name too long. Callers as steward.protect.';

REVOKE ALL ON FUNCTION steward.pseudonym(text, text, text), steward.create_masking_view(regclass, text) FROM PUBLIC;
