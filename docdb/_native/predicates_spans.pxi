# Ranges of keys: a treap by lower bound whose nodes know the highest upper bound below them. Included by predicates.pyx.
#
# Priorities are random, so that depth is logarithmic whatever the order of arrival: about 3 log2 n at the most. Ties of lower bounds are broken by
# the node's number, so that a node is found again in as many steps.

cdef struct Span:
    unsigned char* low      # one block: the lower bound, behind it the upper one
    uint32_t low_size
    uint32_t high_size
    uint32_t left
    uint32_t right
    uint32_t highest        # node below (or this one) with the highest upper bound
    uint32_t priority
    uint32_t query          # NONE: free, then the next free one is ``sibling``
    uint32_t sibling        # next of the query's
    uint32_t slot
    bint joint
    bint deep               # holds keys of objects or arrays


cdef inline int order_of(const unsigned char* a, uint32_t a_size, const unsigned char* b, uint32_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef inline int order_of_highs(const Span* a, const Span* b) noexcept nogil:
    return order_of(a.low + a.low_size, a.high_size, b.low + b.low_size, b.high_size)


cdef inline bint is_before(const Table* t, uint32_t a, uint32_t b) noexcept nogil:
    cdef int order = order_of(t.spans[a].low, t.spans[a].low_size, t.spans[b].low, t.spans[b].low_size)
    return order < 0 or (order == 0 and a < b)


cdef void renew_highest(Table* t, uint32_t at) noexcept nogil:
    cdef Span* span = &t.spans[at]
    cdef uint32_t below
    span.highest = at
    if span.left != NONE:
        span.highest = t.spans[span.left].highest
        if order_of_highs(&t.spans[span.highest], span) < 0:
            span.highest = at
    if span.right != NONE:
        below = t.spans[span.right].highest
        if order_of_highs(&t.spans[below], &t.spans[span.highest]) > 0:
            span.highest = below


cdef void split_spans(Table* t, uint32_t root, uint32_t pivot, uint32_t* left, uint32_t* right) noexcept nogil:
    if root == NONE:
        left[0] = right[0] = NONE
        return
    if is_before(t, root, pivot):
        split_spans(t, t.spans[root].right, pivot, &t.spans[root].right, right)
        left[0] = root
    else:
        split_spans(t, t.spans[root].left, pivot, left, &t.spans[root].left)
        right[0] = root
    renew_highest(t, root)


cdef uint32_t merge_spans(Table* t, uint32_t left, uint32_t right) noexcept nogil:
    if left == NONE or right == NONE:
        return right if left == NONE else left
    if t.spans[left].priority > t.spans[right].priority:
        t.spans[left].right = merge_spans(t, t.spans[left].right, right)
        renew_highest(t, left)
        return left
    t.spans[right].left = merge_spans(t, left, t.spans[right].left)
    renew_highest(t, right)
    return right


cdef uint32_t put_span(Table* t, uint32_t root, uint32_t new) noexcept nogil:
    if root == NONE or t.spans[new].priority > t.spans[root].priority:
        split_spans(t, root, new, &t.spans[new].left, &t.spans[new].right)
        root = new
    elif is_before(t, new, root):
        t.spans[root].left = put_span(t, t.spans[root].left, new)
    else:
        t.spans[root].right = put_span(t, t.spans[root].right, new)
    renew_highest(t, root)
    return root


cdef uint32_t take_span(Table* t, uint32_t root, uint32_t old) noexcept nogil:
    if root == old:
        return merge_spans(t, t.spans[old].left, t.spans[old].right)
    if is_before(t, old, root):
        t.spans[root].left = take_span(t, t.spans[root].left, old)
    else:
        t.spans[root].right = take_span(t, t.spans[root].right, old)
    renew_highest(t, root)
    return root


cdef int find_spans(Table* t, uint32_t root, const Reached* from_, const Reached* to) noexcept nogil:
    """Note the queries of all ranges that begin at or before ``to`` and end behind ``from_``."""
    cdef const Span* span
    cdef const Span* highest
    while root != NONE:
        span = &t.spans[root]
        highest = &t.spans[span.highest]
        if order_of(
            highest.low + highest.low_size, highest.high_size, t.keys.data + from_.at, from_.size
        ) <= 0:
            return 0
        if find_spans(t, span.left, from_, to) < 0:
            return NO_MEMORY
        if order_of(span.low, span.low_size, t.keys.data + to.at, to.size) > 0:
            return 0
        if order_of(span.low + span.low_size, span.high_size, t.keys.data + from_.at, from_.size) > 0:
            if emit(t, span.query) < 0:
                return NO_MEMORY
        root = span.right
    return 0


cdef int add_span(
    Table* t, uint32_t query, uint32_t slot, const unsigned char* low, uint32_t low_size, const unsigned char* high,
    uint32_t high_size, bint joint,
) noexcept nogil:
    cdef uint32_t at = t.free_span
    cdef Span* span
    cdef unsigned char* memory = <unsigned char*>malloc(<size_t>low_size + high_size + 1)
    cdef uint32_t* root
    if memory == NULL:
        return NO_MEMORY
    if at == NONE:
        if grow(<void**>&t.spans, &t.span_room, t.span_size + 1, sizeof(Span)) < 0:
            free(memory)
            return NO_MEMORY
        at = t.span_size
        t.span_size += 1
    else:
        t.free_span = t.spans[at].sibling
    memcpy(memory, low, low_size)
    memcpy(memory + low_size, high, high_size)
    span = &t.spans[at]
    span.low = memory
    span.low_size = low_size
    span.high_size = high_size
    span.left = span.right = NONE
    span.highest = at
    t.random = t.random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    span.priority = <uint32_t>(t.random >> 32)
    span.query = query
    span.slot = slot
    span.joint = joint
    span.deep = low_size == 0 or (low[0] <= ARRAY_TAG and (high_size == 0 or high[0] >= OBJECT_TAG))
    span.sibling = t.queries[query].span
    t.queries[query].span = at
    root = &t.slots[slot].joint if joint else &t.slots[slot].each
    root[0] = put_span(t, root[0], at)
    t.slots[slot].refs += 1
    t.slots[slot].deep += span.deep
    t.span_count += 1
    return 0


cdef void drop_span(Table* t, uint32_t at) noexcept nogil:
    cdef Span* span = &t.spans[at]
    cdef uint32_t slot = span.slot
    cdef uint32_t* root = &t.slots[slot].joint if span.joint else &t.slots[slot].each
    root[0] = take_span(t, root[0], at)
    t.slots[slot].deep -= span.deep
    free(span.low)
    span.low = NULL
    span.query = NONE
    span.sibling = t.free_span
    t.free_span = at
    t.span_count -= 1
    close_slot(t, slot)
