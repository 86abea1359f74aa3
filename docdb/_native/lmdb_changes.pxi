"""One document changed by its id, in a durable commit of its own, without a step in Python. Part of lmdb_engine.pyx.

A ``PointWriter`` does what the group commit does for a lone caller who sets plain fields that no index looks at: lead, turn, transaction, splice,
change record, counters, state, commit. Its reference form is that long road, which it leaves everything to that is unusual: it says so *before* its first
put, or undoes what it has put. It must not know filters, sessions, validators; who teaches it (``store/points.py``) says what holds for a collection.

Laws:
- Between taking the lead and giving it on nothing of Python runs but C functions, so that no interruption and no signal's handler comes between; the
  exceptions are the hand-over of the lead to somebody who waits, the feeds and the bells, all of which come when the commit is done.
- The lead is taken only where nobody leads and nobody waits, and only where the last batch held one caller: several are the group commit's.
- The numbers (commit, log) are those this process left behind: whenever the newest commit is not its own, the long road reads them.
- What it reads and sets of the objects above. store: ``_catalog``, ``_latest``, ``_seen_id``, ``announce``, ``bell``, ``bells``, ``history_age_s``,
  ``history_bytes``, ``hub``, ``writer``. writer: ``_last_callers``, ``_leading``, ``_pass_on``, ``_queue``, ``callers``, ``commits``, ``lone``. storage
  (engine/shared.py): ``_checked_s``, ``_room``, ``_writer``, ``_writer_thread``, ``environment``.
"""

from libc.stdint cimport int64_t

from docdb._native.buffer cimport Buffer, buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.packed cimport load64, store32, store64
from docdb._native.splicing cimport MOST_SPLICED, Assigned, splice

from docdb._native.codec import encode_value

cdef extern from *:
    """
    #include <time.h>
    static int64_t docdb_clock_us(void)
    {
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
    }
    """
    int64_t docdb_clock_us() noexcept nogil

cdef extern from "Python.h":
    bint PyUnicode_IsIdentifier(object text)
    bint PyUnicode_IS_ASCII(object text)

cdef enum Done:
    IS_UNTAUGHT = -2       # what was taught no longer holds
    IS_UNUSUAL = -1        # nothing was put: for the long road
    IS_ABSENT = 0
    IS_SAME = 1
    IS_CHANGED = 2

cdef enum:
    CHANGES = 2
    CATALOG = 3
    CHANGE_KEY = 12
    CHANGE_HEAD = 9
    END_SIZE = 12
    STATE_SIZE = 32
    COUNTERS_SIZE = 24
    LARGEST_DOCUMENT = 16777216
    AGE_SHARE = 100             # this part of the history's age is left to whoever comes the long road next, a minute at most

cdef bytes state_key = b"m:state"
cdef bytes FIRST_INDEX = bytes(4)


@cython.final
cdef class PointWriter:
    """Sets fields of the documents of one collection.

    ``check_s``, ``check_commits``: how often the long road looks for dead readers; ``room``: bytes kept behind the last page; ``most_bytes`` of both images.
    """

    cdef EngineCore engine
    cdef Gate gate
    cdef object store
    cdef object object_id
    cdef object catalog         # the one it was taught of; None: nothing is known
    cdef frozenset watched      # names of fields that an index looks at; None: this collection goes the long road
    cdef double check_s
    cdef long check_commits
    cdef size_t room
    cdef Py_ssize_t most_bytes
    cdef readonly tuple last_end        # key and value of the end record of a commit that failed
    cdef unsigned char prefix[PREFIX]

    def __init__(self, EngineCore engine not None, Gate gate not None, store, object_id, *, double check_s, long check_commits,
                 size_t room, Py_ssize_t most_bytes):
        self.engine = engine
        self.gate = gate
        self.store = store
        self.object_id = object_id
        self.check_s = check_s
        self.check_commits = check_commits
        self.room = room
        self.most_bytes = most_bytes

    def learn(self, catalog, bytes prefix not None, watched):
        """Take these as right while ``catalog`` is the newest; ``watched`` None: go the long road as long."""
        if PyBytes_GET_SIZE(prefix) != PREFIX:
            raise UsageError(f"a prefix has {PREFIX} bytes")
        memcpy(self.prefix, PyBytes_AS_STRING(prefix), PREFIX)
        self.watched = watched
        self.catalog = catalog

    def change(self, id, fields):
        """Set fields of the document with this id; return 2 when it changed, 1 when it was so already, 0 when there is none.

        Nothing was done: -1, take the long road; -2, and teach me anew. StorageError: the commit failed, ``last_end`` tells what to look for.
        """
        cdef unsigned char key[LONGEST_KEY]
        cdef Assigned assigned[MOST_SPLICED]
        cdef list kept = []
        cdef Py_ssize_t size
        cdef int count
        store = self.store
        if self.gate.is_shut:
            return <int>IS_UNUSUAL
        if self.catalog is None or store._catalog is not self.catalog:
            return <int>IS_UNTAUGHT
        if self.watched is None or type(fields) is not dict:
            return <int>IS_UNUSUAL
        size = put_id(id, self.object_id, key)
        if size == 0:
            return <int>IS_UNUSUAL
        memcpy(key, self.prefix, PREFIX)
        count = self.understand(<dict>fields, assigned, kept)
        if count == 0:
            return <int>IS_UNUSUAL
        return self.lead(store, key, size, assigned, count)

    cdef int understand(self, dict fields, Assigned *assigned, list kept) except -1:
        """Fill in the fields in the order of their names; return how many, 0 when they are not all plain. ``kept`` holds the bytes."""
        cdef int count = 0, overflow
        cdef Py_ssize_t size
        cdef list names = []
        if not 0 < len(fields) <= MOST_SPLICED:
            return 0
        for name, value in fields.items():
            if type(name) is not str or not PyUnicode_IsIdentifier(name) or name == "_id" or name in self.watched:
                return 0
            kind = type(value)
            if kind is int:
                overflow = 0
                PyLong_AsLongLongAndOverflow(value, &overflow)
                if overflow:
                    return 0
            elif kind is str:
                if not PyUnicode_IS_ASCII(value):
                    return 0
            elif kind is not float and kind is not bool and value is not None:
                return 0
            names.append(name)
        names.sort()
        for name in names:
            head, value = encode_value(name), encode_value(fields[name])
            kept.append((name, head, value))
            assigned[count].name = PyUnicode_AsUTF8AndSize(name, &size)
            assigned[count].name_size = size
            assigned[count].head = PyBytes_AS_STRING(head)
            assigned[count].head_size = PyBytes_GET_SIZE(head)
            assigned[count].value = PyBytes_AS_STRING(value)
            assigned[count].value_size = PyBytes_GET_SIZE(value)
            count += 1
        return count

    cdef int lead(self, store, unsigned char *key, Py_ssize_t size, Assigned *assigned, int count) except? -3:
        """Take lead and turn, carry it out, give both back, ring the bells."""
        cdef Environment environment = self.engine.environment
        cdef int done = IS_UNUSUAL
        cdef list records = []      # of the commit, where feeds are to be told of it
        writer, latest, storage = store.writer, store._latest, self.engine._storage
        if latest is None or latest[1] is not self.catalog or not self.trims_nothing(store, latest[2]):
            return IS_UNUSUAL
        if environment is None or not environment.usable() or storage is None or storage.environment is not environment:
            return IS_UNUSUAL
        if writer._leading or writer._queue or writer._last_callers > 1 or (<long>writer.commits + 1) % self.check_commits == 0:
            return IS_UNUSUAL
        if time.monotonic() - <double>storage._checked_s > self.check_s:
            return IS_UNUSUAL
        turn, lone = storage._writer, writer.lone
        if not turn.acquire(False):
            return IS_UNUSUAL
        storage._writer_thread = PyThread_get_thread_ident()
        writer._leading = lone.leads = True
        environment.inside += 1
        try:
            done = self.carry_out(environment, storage, store, latest, key, size, assigned, count, records)
            if records:  # commit by commit, so before anybody else can lead
                announce(store, records)
        finally:
            environment.inside -= 1
            storage._writer_thread = 0
            turn.release()
            if not writer._queue:
                lone.leads = writer._leading = False
            else:
                hand_on(writer, lone, done)
        if done == IS_CHANGED and not records:
            ring(store, latest[2].last_commit)
        return done

    cdef bint trims_nothing(self, store, state) except -1:
        """Tell whether no record need be removed from the log with the next commit."""
        cdef int64_t age = <int64_t>(<double>store.history_age_s * 1e6)
        cdef int64_t slack
        if not state.tidy or <int64_t>state.log_bytes > <int64_t>store.history_bytes:
            return False
        slack = min(age // AGE_SHARE, <int64_t>60000000)
        return age == 0 or <int64_t>state.oldest_us >= docdb_clock_us() - age - slack

    cdef int carry_out(
        self, Environment environment, storage, store, latest, unsigned char *key, Py_ssize_t size, Assigned *assigned, int count,
        list records
    ) except? -3:
        """Begin, change, commit; whatever goes wrong in front of the commit undoes it and is the long road's to meet again."""
        cdef Buffer log
        cdef MDB_txn *txn = NULL
        cdef int code, done = IS_UNUSUAL
        cdef int64_t added = 0
        cdef unsigned char end[CHANGE_KEY + END_SIZE]
        state = latest[2]
        if buffer_start(&log, 4096) < 0:
            return IS_UNUSUAL
        with nogil:
            code = api.txn_begin(environment.env, NULL, 0, &txn)
        if code:
            buffer_end(&log)
            return IS_UNUSUAL
        try:
            if api.txn_id(txn) - 1 == <size_t>latest[0] and store._catalog is self.catalog and self.has_room(environment, storage):
                done = self.change_in(environment, txn, &log, key, size, assigned, count)
                if done == IS_CHANGED:
                    done = self.note(environment, txn, &log, state, store.history_bytes, end, &added)
                if done == IS_CHANGED and store.hub is not None:
                    records.append(((<char *>end)[:8] + FIRST_INDEX, (<char *>log.data)[:log.size]))
                    records.append(((<char *>end)[:CHANGE_KEY], (<char *>end + CHANGE_KEY)[:END_SIZE]))
        except BaseException:
            done = IS_UNUSUAL
            raise
        finally:
            buffer_end(&log)
            if done != IS_CHANGED:
                api.txn_abort(txn)
        if done != IS_CHANGED:
            return done
        with nogil:
            code = api.txn_commit(txn)
        if code:
            records.clear()
            environment.is_live = False
            self.last_end = (<char *>end)[:CHANGE_KEY], (<char *>end + CHANGE_KEY)[:END_SIZE]
            raise environment.failure(code, "committing")
        state.last_commit += 1
        state.log_bytes += added
        number = latest[0] + 1
        store._latest = number, self.catalog, state
        if store._seen_id < number:
            store._seen_id = number
        writer = store.writer
        writer.commits += 1
        writer.callers += 1
        return IS_CHANGED

    cdef bint has_room(self, Environment environment, storage) except -1:
        """Tell whether the file has room behind its last page (engine/growth.py), or nobody keeps any."""
        cdef MDB_envinfo info
        cdef MDB_stat tree
        room = storage._room
        if room is None:
            return True
        api.env_info(environment.env, &info)
        api.env_stat(environment.env, &tree)
        return <int64_t>room._size - <int64_t>((info.me_last_pgno + 1) * tree.ms_psize) >= <int64_t>self.room

    cdef int change_in(
        self, Environment environment, MDB_txn *txn, Buffer *log, unsigned char *key, Py_ssize_t size, Assigned *assigned, int count
    ) noexcept:
        """Put the document's new form and count its bytes; ``log`` holds the change's record then."""
        cdef MDB_val wanted, found
        cdef unsigned char head[CHANGE_HEAD]
        cdef size_t before, after
        cdef int spliced, code
        wanted.mv_data = key
        wanted.mv_size = size
        code = api.get(txn, environment.dbis[DOCUMENTS], &wanted, &found)
        if code == DOCDB_NOTFOUND:
            return IS_ABSENT
        if code or found.mv_size > LARGEST_DOCUMENT:
            return IS_UNUSUAL
        before = found.mv_size
        head[0] = 117  # u, an update
        memcpy(head + 1, self.prefix, PREFIX)
        store32(head + 5, <unsigned int>before)
        if buffer_reserve(log, 2 * before + 512) < 0 or buffer_put(log, head, CHANGE_HEAD) < 0 or buffer_put(log, found.mv_data, before) < 0:
            return IS_UNUSUAL
        spliced = splice(log, <const unsigned char *>found.mv_data, before, assigned, count)
        if spliced <= 0:
            return IS_SAME if spliced == 0 else IS_UNUSUAL
        after = log.size - CHANGE_HEAD - before
        if after > LARGEST_DOCUMENT or <Py_ssize_t>(before + after) > self.most_bytes:
            return IS_UNUSUAL
        found.mv_data = log.data + CHANGE_HEAD + before
        found.mv_size = after
        if api.put(txn, environment.dbis[DOCUMENTS], &wanted, &found, 0):
            return IS_UNUSUAL
        if after != before and not self.count_bytes(environment, txn, <int64_t>after - <int64_t>before):
            return IS_UNUSUAL
        return IS_CHANGED

    cdef bint count_bytes(self, Environment environment, MDB_txn *txn, int64_t more) noexcept:
        """Add to the collection's counter of bytes."""
        cdef MDB_val wanted, found
        cdef unsigned char key[2 + PREFIX]
        cdef unsigned char counters[COUNTERS_SIZE]
        cdef int64_t total
        key[0] = 110  # n:
        key[1] = 58
        memcpy(key + 2, self.prefix, PREFIX)
        wanted.mv_data = key
        wanted.mv_size = 2 + PREFIX
        if api.get(txn, environment.dbis[CATALOG], &wanted, &found) or found.mv_size != COUNTERS_SIZE:
            return False
        memcpy(counters, found.mv_data, COUNTERS_SIZE)
        total = <int64_t>load64(counters + 8) + more
        if total < 0:
            return False
        store64(counters + 8, total)
        found.mv_data = counters
        return api.put(txn, environment.dbis[CATALOG], &wanted, &found, 0) == 0

    cdef int note(
        self, Environment environment, MDB_txn *txn, Buffer *log, state, history_bytes, unsigned char *end, int64_t *added
    ) except? -3:
        """Put the change's record, the commit's end and the state behind it."""
        cdef MDB_val wanted, found
        cdef unsigned char key[CHANGE_KEY]
        cdef unsigned char packed[STATE_SIZE]
        cdef int64_t commit = <int64_t>state.last_commit + 1
        added[0] = 2 * CHANGE_KEY + <int64_t>log.size + END_SIZE
        if <int64_t>state.log_bytes + added[0] > <int64_t>history_bytes:
            return IS_UNUSUAL
        store64(key, commit)
        store32(key + 8, 0)
        wanted.mv_data, wanted.mv_size = key, CHANGE_KEY
        found.mv_data, found.mv_size = log.data, log.size
        if api.put(txn, environment.dbis[CHANGES], &wanted, &found, DOCDB_APPEND):
            return IS_UNUSUAL
        store64(end, commit)
        store32(end + 8, <unsigned int>0xFFFFFFFF)
        store64(end + CHANGE_KEY, docdb_clock_us())
        store32(end + CHANGE_KEY + 8, 1)
        wanted.mv_data = end
        found.mv_data, found.mv_size = end + CHANGE_KEY, END_SIZE
        if api.put(txn, environment.dbis[CHANGES], &wanted, &found, DOCDB_APPEND):
            return IS_UNUSUAL
        store64(packed, commit)
        store32(packed + 8, <unsigned int>state.next_collection)
        store32(packed + 12, <unsigned int>state.next_index)
        store64(packed + 16, <int64_t>state.log_bytes + added[0])
        store64(packed + 24, <int64_t>state.oldest_commit)
        wanted.mv_data, wanted.mv_size = PyBytes_AS_STRING(state_key), PyBytes_GET_SIZE(state_key)
        found.mv_data, found.mv_size = packed, STATE_SIZE
        return IS_UNUSUAL if api.put(txn, environment.dbis[CATALOG], &wanted, &found, 0) else IS_CHANGED


cdef int hand_on(writer, lone, int done) except -1:
    """Give the lead to the first who waits; interrupted, do it again, for somebody depends on it."""
    interruption = None
    while lone.leads:
        try:
            writer._pass_on(lone)
        except BaseException as error:
            interruption = error
    if interruption is not None:
        interruption.add_note("docdb: the write is committed" if done == IS_CHANGED else "docdb: nothing was written")
        raise interruption
    return 0


cdef int announce(store, list records) except -1:
    """Tell the feeds; what an interruption meets is done."""
    try:
        store.announce(records)
    except BaseException as interruption:
        interruption.add_note("docdb: the write is committed")
        raise
    return 0


cdef int ring(store, number) except -1:
    """Tell everybody who waits for commits; what goes wrong with that no longer concerns the caller, but for an interruption."""
    try:
        store.bell.ring(number)
        for bell in store.bells:
            bell()
    except Exception:
        import logging  # seldom needed, and slow to load

        logging.getLogger("docdb.store").exception("after a commit")
    except BaseException as interruption:
        interruption.add_note("docdb: the write is committed")
        raise
    return 0
