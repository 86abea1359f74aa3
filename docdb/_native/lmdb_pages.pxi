"""A walk over LMDB's leaf pages themselves, without a cursor: what long scans and counts of a snapshot run on. Part of lmdb_engine.pyx.

What lives here: ``Tree`` (a position in one B-tree), the checks on pages and nodes, and ``gather`` and ``tally``, which fall back to the cursor's loops
of lmdb_walk.pxi. What it must not know: transactions; whoever calls holds a snapshot entered, never a writer (its changed pages are not in the map).

Layout of LMDB 0.9 with data version 1, all little-endian, offsets in bytes:

    page      0 number (8), 8 pad (2), 10 flags (2), 12 lower (2), 14 upper (2), 16 an offset (2) per node, nodes up to the end of the page
    overflow  0 number (8), 10 flags (2), 12 number of pages (4), 16 the value
    node      0 size of the value (4; in a branch the low bits of the child), 4 flags (in a branch the high bits), 6 size of the key (2), 8 key, value
    tree      4 flags (2), 6 depth (2), 40 root page (8); the value of the tree's name in the main tree

Laws:
- Whatever the bytes say, nothing outside the map's used pages is read: a page number is compared with the last page before it is followed, every
  offset and size with the page's end before it is used, and the depth is bounded.
- No leaf is entered twice: the keys of each lie beyond those of the one before, so a walk takes no longer than the file is, however its pages name one another.
- What is unusual is left to the cursor: the walk goes on behind the last key taken. Both give the same keys and values.
"""

cdef extern from *:
    """
    /* Read one byte of each line of a page, so that all its lines travel at once. Measured: prefetch instructions bring half of that. */
    static void docdb_fetch_page(const unsigned char *page, size_t size) {
        size_t at;
        for (at = 0; at < size; at += 64)
            (void)*(const volatile unsigned char *)(page + at);
    }
    #if defined(__GNUC__)
    #define docdb_prefetch(at) __builtin_prefetch(at)
    #else
    #define docdb_prefetch(at) ((void)(at))
    #endif
    """
    void docdb_prefetch(const void *at) noexcept nogil
    void fetch_page "docdb_fetch_page"(const unsigned char *page, size_t size) noexcept nogil

cdef enum:
    MAIN_TREE = 1           # the handle of the tree of trees
    DEEPEST = 24            # levels of a tree; LMDB has at most 32, and 24 hold more than any file
    PAGE_HEAD = 16
    NODE_HEAD = 8
    BRANCH_PAGE = 1
    LEAF_PAGE = 2
    OVERFLOW_PAGE = 4
    BIG_VALUE = 1           # flag of a node whose value is on pages of its own
    NO_PAGE = -1
    FETCHED_NODES = 24      # more would cost more than the steps of a search that wait

cdef struct Level:
    const unsigned char *page
    int at
    int count

cdef struct Tree:
    bint ready              # the position is known
    bint refused            # left to the cursor from here on
    bint ended              # the present page is the last one in bounds
    const unsigned char *map
    size_t page_size
    size_t last_page
    size_t root
    int depth
    int at                  # next node of the leaf
    int stop                # where the leaf's nodes in bounds end
    Level levels[DEEPEST]

cdef bint pages_are_walked = True


def walk_pages(bint wanted):
    """Say whether long scans walk pages (they do) or use cursors only; return what was said before. For tests that compare the two."""
    global pages_are_walked
    before, pages_are_walked = pages_are_walked, wanted
    return before


cdef int open_tree(Tree *tree, Environment environment, MDB_txn *txn, int space) except -1:
    """Find the map and the root of a space, as it was found last while nobody has committed; leaves ``refused`` where something is not as it should be."""
    cdef Root *root = &environment.roots[space]
    cdef size_t commit = api.txn_id(txn)
    if pages_are_walked and root.map != NULL and root.commit == commit:
        tree.ready = tree.refused = False
        tree.map = root.map
        tree.page_size = root.page_size
        tree.last_page = root.last_page
        tree.root = root.page
        tree.depth = root.depth
        return 0
    find_tree(tree, environment, txn, space)
    if not tree.refused:
        root.map = tree.map
        root.page_size = tree.page_size
        root.last_page = tree.last_page
        root.page = tree.root
        root.depth = tree.depth
        root.commit = commit
    return 0


cdef int find_tree(Tree *tree, Environment environment, MDB_txn *txn, int space) except -1:
    cdef MDB_val key, value
    cdef MDB_envinfo info
    cdef MDB_stat stat
    cdef const unsigned char *page
    cdef const unsigned char *record
    cdef bytes name = environment.names[space]
    tree.ready = False
    tree.refused = True
    if not pages_are_walked:
        return 0
    key.mv_data = PyBytes_AS_STRING(name)
    key.mv_size = PyBytes_GET_SIZE(name)
    if api.get(txn, MAIN_TREE, &key, &value) or value.mv_size != 48:
        return 0
    if api.env_info(environment.env, &info) or api.stat(txn, environment.dbis[space], &stat):
        return 0
    record = <const unsigned char *>value.mv_data
    tree.page_size = stat.ms_psize
    tree.last_page = info.me_last_pgno
    tree.depth = number16(record + 6)
    tree.root = number64(record + 40)
    if tree.page_size < 512 or tree.page_size > page_of_system or tree.page_size & (tree.page_size - 1) or number16(record + 4):
        return 0
    if tree.depth < 1 or tree.depth > DEEPEST or tree.last_page >= info.me_mapsize // tree.page_size:
        return 0
    page = <const unsigned char *>(<size_t>record & ~(tree.page_size - 1))
    if number64(page) > tree.last_page:
        return 0
    tree.map = page - number64(page) * tree.page_size
    tree.refused = False
    return 0


cdef inline unsigned int number16(const unsigned char *p) noexcept nogil:
    return p[0] | <unsigned int>p[1] << 8


cdef inline size_t number32(const unsigned char *p) noexcept nogil:
    return number16(p) | <size_t>number16(p + 2) << 16


cdef inline size_t number64(const unsigned char *p) noexcept nogil:
    return number32(p) | number32(p + 4) << 32


# ---- pages and nodes, checked


cdef inline int enter_page(Tree *tree, int depth, size_t number) noexcept nogil:
    """Put a page on a level, where it is what that level needs: 0, or -1."""
    cdef const unsigned char *page
    cdef size_t lower, upper
    cdef int flags
    if number > tree.last_page or number < 2:
        return -1
    page = tree.map + number * tree.page_size
    lower = number16(page + 12)
    upper = number16(page + 14)
    flags = <int>number16(page + 10)
    if number64(page) != number or flags != (LEAF_PAGE if depth == tree.depth - 1 else BRANCH_PAGE):
        return -1
    if lower <= PAGE_HEAD or lower & 1 or lower > upper or upper > tree.page_size:
        return -1
    tree.levels[depth].page = page
    tree.levels[depth].count = <int>((lower - PAGE_HEAD) >> 1)
    return 0


cdef inline const unsigned char *node_at(Tree *tree, Level *level, int at, MDB_val *key) noexcept nogil:
    """Return a node whose head and key lie within its page, or NULL. ``at`` is below the count."""
    cdef size_t offset = number16(level.page + PAGE_HEAD + 2 * at)
    cdef const unsigned char *node = level.page + offset
    if offset < PAGE_HEAD or offset + NODE_HEAD > tree.page_size:
        return NULL
    key.mv_size = number16(node + 6)
    key.mv_data = <void *>(node + NODE_HEAD)
    return node if offset + NODE_HEAD + key.mv_size <= tree.page_size else NULL


cdef inline int pair_at(Tree *tree, Level *level, int at, MDB_val *key, MDB_val *value) noexcept nogil:
    """Read a leaf's node: 0, or -1 for what only the cursor should judge."""
    cdef const unsigned char *node = node_at(tree, level, at, key)
    cdef size_t room
    cdef unsigned int flags
    if node == NULL or key.mv_size < 1 or key.mv_size > LONGEST_KEY:
        return -1
    room = tree.page_size - <size_t>(node - level.page) - NODE_HEAD - key.mv_size
    value.mv_size = number32(node)
    value.mv_data = <void *>(node + NODE_HEAD + key.mv_size)
    flags = number16(node + 4)
    if flags == 0:
        return 0 if value.mv_size <= room else -1
    if flags != BIG_VALUE or room < 8:
        return -1
    return big_value(tree, number64(<const unsigned char *>value.mv_data), value)


cdef int big_value(Tree *tree, size_t number, MDB_val *value) noexcept nogil:
    cdef const unsigned char *page
    cdef size_t pages
    if number > tree.last_page or number < 2:
        return -1
    page = tree.map + number * tree.page_size
    pages = number32(page + 12)
    if number64(page) != number or number16(page + 10) != OVERFLOW_PAGE or pages < 1 or pages > tree.last_page - number + 1:
        return -1
    if value.mv_size > pages * tree.page_size - PAGE_HEAD:
        return -1
    value.mv_data = <void *>(page + PAGE_HEAD)
    return 0


cdef inline long long child_at(Tree *tree, Level *level, int at) noexcept nogil:
    cdef MDB_val key
    cdef const unsigned char *node = node_at(tree, level, at, &key)
    if node == NULL:
        return NO_PAGE
    return <long long>(number32(node) | <size_t>number16(node + 4) << 32)


cdef int lower_bound(Tree *tree, Level *level, int low, const char *key, size_t size, bint *equal) noexcept nogil:
    """The first node from ``low`` on whose key is not below; the count when there is none; -1 where the page is not as it should be."""
    cdef MDB_val found
    cdef int high = level.count
    cdef int middle, order
    equal[0] = False
    while low < high:
        middle = (low + high) >> 1
        if node_at(tree, level, middle, &found) == NULL:
            return -1
        order = compare(found.mv_data, found.mv_size, key, size)
        if order == 0:
            equal[0] = True
            return middle
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return low


# ---- moving


cdef int seek(Tree *tree, const char *key, size_t size, bint *equal) noexcept nogil:
    """Descend to the leaf where the key is or would be; its lower bound becomes ``at`` of the last level. 0, or -1."""
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef long long leaf = leaf_of(tree, key, size)
    if leaf < 0 or enter_page(tree, tree.depth - 1, <size_t>leaf) < 0:
        return -1
    level.at = lower_bound(tree, level, 0, key, size, equal)
    return 0 if level.at >= 0 else -1


cdef int find(Tree *tree, const char *key, size_t size, MDB_val *value) noexcept nogil:
    """Look one key up: 0, DOCDB_NOTFOUND, or -1 for what only the cursor should judge."""
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef MDB_val found
    cdef bint equal = False
    cdef long long leaf = leaf_of(tree, key, size)
    if leaf < 0 or enter_page(tree, tree.depth - 1, <size_t>leaf) < 0:
        return -1
    fetch_nodes(level)
    level.at = lower_bound(tree, level, 0, key, size, &equal)
    if not equal:
        return DOCDB_NOTFOUND if level.at >= 0 else -1
    return pair_at(tree, level, level.at, &found, value)


cdef long long leaf_of(Tree *tree, const char *key, size_t size) noexcept nogil:
    """Descend through the branches to the number of the leaf where the key is or would be; NO_PAGE where something is not as it should be."""
    cdef Level *level
    cdef long long child = <long long>tree.root
    cdef bint equal = False
    cdef int depth, at
    for depth in range(tree.depth - 1):
        if child < 0 or enter_page(tree, depth, <size_t>child) < 0:
            return NO_PAGE
        level = &tree.levels[depth]
        at = lower_bound(tree, level, 1, key, size, &equal)     # the first key of a branch is below all, whatever it says
        if at < 0:
            return NO_PAGE
        level.at = at if equal else at - 1
        child = child_at(tree, level, level.at)
    return child


cdef inline void fetch_nodes(Level *level) noexcept nogil:
    """Ask the memory for the heads of all nodes of a leaf at once: a search by halves would wait for each of its steps."""
    cdef int at
    if level.count <= FETCHED_NODES:
        for at in range(level.count):
            prefetch_node(level, at)


cdef inline void prefetch_node(Level *level, int at) noexcept nogil:
    docdb_prefetch(level.page + number16(level.page + PAGE_HEAD + 2 * at))


cdef int move(Tree *tree, bint reverse) noexcept nogil:
    """Go to the leaf beside: 0, DOCDB_NOTFOUND where there is none, or -1."""
    cdef Level *level
    cdef long long child
    cdef int depth = tree.depth - 2
    while depth >= 0 and tree.levels[depth].at == (0 if reverse else tree.levels[depth].count - 1):
        depth -= 1
    if depth < 0:
        return DOCDB_NOTFOUND
    tree.levels[depth].at += -1 if reverse else 1
    while depth < tree.depth - 1:
        child = child_at(tree, &tree.levels[depth], tree.levels[depth].at)
        depth += 1
        if child < 0 or enter_page(tree, depth, <size_t>child) < 0:
            return -1
        level = &tree.levels[depth]
        level.at = level.count - 1 if reverse else 0
    return 0


cdef void fetch_ahead(Tree *tree, bint reverse) noexcept nogil:
    """Ask the memory for the leaf after this one: its nodes lie backwards, which no hardware foresees."""
    cdef Level *level
    cdef long long child
    cdef int at
    if tree.depth < 2:
        return
    level = &tree.levels[tree.depth - 2]
    at = level.at + (-1 if reverse else 1)
    if at < 0 or at >= level.count:
        return
    child = child_at(tree, level, at)
    if child < 0 or <size_t>child > tree.last_page:
        return
    fetch_page(tree.map + <size_t>child * tree.page_size, tree.page_size)


cdef int bound_page(Walk *walk, Tree *tree) noexcept nogil:
    """Find where the nodes in bounds end in the leaf just entered: 0, or -1."""
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef MDB_val key
    cdef bint equal
    cdef int edge = 0 if walk.reverse else level.count - 1
    tree.at = level.at
    if node_at(tree, level, edge, &key) == NULL:
        return -1
    if walk.reverse:
        tree.stop = -1
        tree.ended = compare(key.mv_data, key.mv_size, walk.low, walk.low_size) < 0
    else:
        tree.stop = level.count
        tree.ended = compare(key.mv_data, key.mv_size, walk.high, walk.high_size) >= 0
    if not tree.ended:
        return 0
    if walk.reverse:
        tree.stop = lower_bound(tree, level, 0, walk.low, walk.low_size, &equal)
        if tree.stop < 0:
            return -1
        tree.stop = min(tree.stop - 1, tree.at)
    else:
        tree.stop = lower_bound(tree, level, 0, walk.high, walk.high_size, &equal)
        if tree.stop < 0:
            return -1
        tree.stop = max(tree.stop, tree.at)
    return 0


cdef int next_page(Walk *walk, Tree *tree, bint ahead) noexcept nogil:
    """Enter the leaf where the walk goes on, also at its start: 0, DOCDB_NOTFOUND at the end, or -1."""
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef MDB_val last, first
    cdef bint equal = False
    cdef int code = 0
    if tree.ready:
        if tree.ended:
            return DOCDB_NOTFOUND
        if node_at(tree, level, 0 if walk.reverse else level.count - 1, &last) == NULL:
            return -1
        code = move(tree, walk.reverse)
        if code == 0 and node_at(tree, level, level.at, &first) == NULL:
            return -1
        if code == 0 and not is_beyond(walk, &first, &last):
            return -1       # a leaf that was met before; ``step_beyond`` tells where the cursor comes to it
    else:
        if walk.started:
            code = seek(tree, walk.last, walk.last_size, &equal)
        elif walk.reverse:
            code = seek(tree, walk.high, walk.high_size, &equal)
        else:
            code = seek(tree, walk.low, walk.low_size, &equal)
        if code < 0:
            return -1
        if walk.reverse:
            level.at -= 1
        elif walk.started and equal:
            level.at += 1
        if level.at < 0 or level.at >= level.count:
            code = move(tree, walk.reverse)
    if code:
        return code
    tree.ready = True
    if ahead:
        fetch_ahead(tree, walk.reverse)
    return bound_page(walk, tree)


# ---- the loops


cdef int gather(
    Walk *walk, Tree *tree, MDB_val *ks, MDB_val *vs, Py_ssize_t size, void *program, Py_ssize_t *taken
) noexcept nogil:
    """As ``collect``, on pages as long as they are as they should be."""
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef MDB_val key
    cdef Py_ssize_t steps = 0, count = 0
    cdef int code = 0
    cdef int by = -1 if walk.reverse else 1
    cdef int verdict
    while count < size and steps < STEPS:
        if not tree.ready or tree.at == tree.stop:
            code = next_page(walk, tree, tree.ready)
            if code:
                break
            continue
        code = pair_at(tree, level, tree.at, &ks[count], &vs[count])
        if code:
            break
        verdict = judged(program, &vs[count])
        if verdict < 0:
            code = -1       # ``collect``, which goes on behind the last key, meets it again and tells
            break
        key = ks[count]
        tree.at += by
        steps += 1
        count += verdict != 0
    if steps:
        remember(walk, &key)
    taken[0] = count
    walk.over = code == DOCDB_NOTFOUND
    if code < 0 and not walk.over:
        tree.refused = True
        walk.placed = False
    return 0


cdef int tally(Walk *walk, Tree *tree, Py_ssize_t *walked) noexcept nogil:
    """As ``count_on``, a page at a time."""
    cdef MDB_val key
    cdef Level *level = &tree.levels[tree.depth - 1]
    cdef Py_ssize_t count = 0, most
    cdef int code = 0
    while count < walked[0]:
        if not tree.ready or tree.at == tree.stop:
            code = next_page(walk, tree, False)
            if code:
                break
            continue
        most = min(<Py_ssize_t>(tree.stop - tree.at), walked[0] - count)
        if node_at(tree, level, tree.at + <int>most - 1, &key) == NULL or key.mv_size > LONGEST_KEY:
            code = -1
            break
        tree.at += <int>most
        count += most
        remember(walk, &key)
    walked[0] = count
    walk.over = code == DOCDB_NOTFOUND
    if code < 0 and not walk.over:
        tree.refused = True
        walk.placed = False
    return 0


cdef int tree_in_memory(Tree *tree, bytes content, size_t page_size, size_t root, int depth) except -1:
    if page_size < 512 or <size_t>PyBytes_GET_SIZE(content) < page_size or not 1 <= depth <= DEEPEST:
        raise UsageError("no such tree")
    tree.ready = tree.refused = False
    tree.map = <const unsigned char *>PyBytes_AS_STRING(content)
    tree.page_size = page_size
    tree.last_page = PyBytes_GET_SIZE(content) // page_size - 1
    tree.root = root
    tree.depth = depth
    return 0


def walk_memory(bytes content, size_t page_size, size_t root, int depth, bint reverse):
    """Return the pairs of a tree in a copy of a data file, and whether all were reached. For tests that damage the copy."""
    cdef Walk walk
    cdef Tree tree
    cdef MDB_val ks[CHUNK]
    cdef MDB_val vs[CHUNK]
    cdef Py_ssize_t taken, n
    cdef list found = []
    cdef bytes high = b"\xff" * LONGEST_KEY
    begin_walk(&walk, b"", high, reverse)
    tree_in_memory(&tree, content, page_size, root, depth)
    while not (walk.over or tree.refused):
        gather(&walk, &tree, ks, vs, CHUNK, NULL, &taken)
        for n in range(taken):
            found.append((bytes_of(&ks[n]), bytes_of(&vs[n])))
    return found, walk.over


def find_memory(bytes content, size_t page_size, size_t root, int depth, bytes key):
    """Return whether the pages of a copy tell of a key, and its value, None when it is absent. For tests that damage the copy."""
    cdef Tree tree
    cdef MDB_val value
    cdef int code
    tree_in_memory(&tree, content, page_size, root, depth)
    code = find(&tree, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), &value)
    return code != -1, bytes_of(&value) if code == 0 else None
