# cython: language_level=3
"""A predicate over stored bytes: the fast twin of ``language/matching.py``.

What lives here: ``Program``, compiled from the tuples of ``language/programs.py``, and ``program_match`` for other
kernels. What it must not know: how filters are written, engines, decoded documents.

The verdict is 1 (matches), 0 (does not), 2 (cannot tell: ask the reference) or -1 (damaged bytes). And, Or and Not
are Kleene's, so a leaf that cannot tell spoils only what depends on it. One walk over the top-level map collects the
fields the program asks for ("slots"); conditions that must all hold are judged as soon as their field is met. The
walk of paths follows the law in ``matching.py`` line by line. Recursion is bounded by the program (its compiler
limits parts and nesting) and, for whole objects and arrays, by the depth limit of documents. Nothing is allocated
while matching, so that one program serves any number of threads.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from .leaves cimport (
    ASK, NO, Q_INTEGER, Q_NONE, Q_TEXT, UNKNOWN, YES, Node, Part, test_bits, test_compare, test_extreme, test_in, test_mod,
    test_pattern, test_quick,
)
from .operands cimport (
    DAMAGED, T_ARRAY, T_BINARY, T_BOOL, T_DATE, T_DECIMAL, T_DOUBLE, T_INT, T_LONG, T_MAX, T_MIN, T_NULL, T_OBJECT,
    T_OBJECT_ID, T_REGEX, T_STRING, T_TIMESTAMP, Operand, classify,
)
from .packed cimport (
    Value, find_element, find_field, is_array, is_map, load64, open_array, open_map, read_name, skip_value,
)

from docdb.errors import CorruptError

cdef enum:
    NO_SLOT = -2

cdef enum Op:
    O_TRUE, O_FALSE, O_UNKNOWN, O_AND, O_OR, O_NOT, O_COMPARE, O_EXTREME, O_IN, O_EXISTS, O_TYPE, O_SIZE, O_MOD,
    O_BITS, O_ELEM_VALUE, O_ELEM_OBJECT, O_PATTERN


OPS = {
    "and": O_AND, "bits": O_BITS, "compare": O_COMPARE, "elem_object": O_ELEM_OBJECT, "elem_value": O_ELEM_VALUE,
    "exists": O_EXISTS, "extreme": O_EXTREME, "false": O_FALSE, "in": O_IN, "mod": O_MOD, "not": O_NOT, "or": O_OR,
    "pattern": O_PATTERN, "size": O_SIZE, "true": O_TRUE, "type": O_TYPE, "unknown": O_UNKNOWN,
}
TYPES = {
    "null": T_NULL, "bool": T_BOOL, "int": T_INT, "long": T_LONG, "double": T_DOUBLE, "decimal": T_DECIMAL,
    "string": T_STRING, "object": T_OBJECT, "array": T_ARRAY, "binData": T_BINARY, "objectId": T_OBJECT_ID,
    "date": T_DATE, "timestamp": T_TIMESTAMP, "regex": T_REGEX, "minKey": T_MIN, "maxKey": T_MAX,
}


# ---- leaves: the verdict over one value; NULL is a missing field


cdef int test_elements(
    const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end
) noexcept nogil:
    cdef const Node* part = &plan.nodes[node.children[0]]
    cdef int64_t count
    cdef int verdict
    cdef int result = NO
    if not is_array(p, end):
        return NO
    count = open_array(&p, end)
    if count < 0:
        return DAMAGED
    while count:
        count -= 1
        if node.op == O_ELEM_VALUE or is_map(p, end) or is_array(p, end):
            verdict = judge(plan, part, p, end, NULL)
            if verdict == YES or verdict < 0:
                return verdict
            if verdict == UNKNOWN:
                result = UNKNOWN
        if skip_value(&p, end) < 0:
            return DAMAGED
    return result


cdef int test(const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end) noexcept nogil:
    """The verdict of a leaf over one value."""
    cdef Value value
    cdef int type
    if node.op == O_COMPARE:
        return test_compare(node, p, end)
    if node.op == O_IN:
        return test_in(node, p, end)
    if node.op == O_EXISTS:
        return p != NULL
    if node.op == O_EXTREME:
        return test_extreme(node, p, end)
    if p == NULL:
        return NO
    if node.op == O_ELEM_VALUE or node.op == O_ELEM_OBJECT:
        return test_elements(plan, node, p, end)
    type = classify(p, end, &value)
    if type < 0:
        return DAMAGED
    if node.op == O_TYPE:
        return node.mask >> type & 1
    if node.op == O_SIZE:
        return type == T_ARRAY and value.size == node.number
    if node.op == O_MOD:
        return test_mod(node, type, &value)
    if node.op == O_BITS:
        return test_bits(node, type, &value)
    return test_pattern(node, type, &value)


# ---- walking a path; the names are those of matching.py


cdef inline int field_of(
    const unsigned char* p, const unsigned char* end, const Part* part, const unsigned char** item
) noexcept nogil:
    """Find a field (of an array below ElemMatch: by position). ``item`` is NULL when it is absent."""
    cdef int found
    item[0] = NULL
    if is_map(p, end):
        found = find_field(p, end, part.name, part.size, item)
    elif part.position < 0:
        return 0
    else:
        found = find_element(p, end, <uint32_t>part.position, item)
    if found < 0:
        return DAMAGED
    if found == 0:
        item[0] = NULL
    return 0


cdef int reach(
    const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end, int at
) noexcept nogil:
    """``p`` is what part ``at`` of the path led to."""
    cdef int last = node.part_count - 1
    while at < last and p != NULL and is_map(p, end):
        at += 1
        if field_of(p, end, &node.parts[at], &p) < 0:
            return DAMAGED
    if p != NULL and is_array(p, end):
        return reach_array(plan, node, p, end, at + 1)
    return test(plan, node, p if at == last else NULL, end)


cdef int reach_array(
    const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end, int at
) noexcept nogil:
    cdef const unsigned char* array = p
    cdef int64_t count, index
    cdef int verdict
    cdef int result = NO
    cdef bint ends = at == node.part_count
    if ends and not node.fans_out:
        return test(plan, node, array, end)
    count = open_array(&p, end)
    if count < 0:
        return DAMAGED
    for index in range(count):
        verdict = test(plan, node, p, end) if ends else reach_element(plan, node, p, end, at, index)
        if verdict == YES or verdict < 0:
            return verdict
        if verdict == UNKNOWN:
            result = UNKNOWN
        if skip_value(&p, end) < 0:
            return DAMAGED
    if ends:
        verdict = test(plan, node, array, end)
        return verdict if verdict else result
    return result


cdef int reach_element(
    const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end, int at, int64_t index
) noexcept nogil:
    """One element of an array on the way: as an object, and as what a number in the path addresses."""
    cdef const unsigned char* item = NULL
    cdef int result = NO
    cdef int verdict
    if is_map(p, end):
        if field_of(p, end, &node.parts[at], &item) < 0:
            return DAMAGED
        result = reach(plan, node, item, end, at)
        if result == YES or result < 0:
            return result
    if index != node.parts[at].position:
        return result
    verdict = reach_position(plan, node, p, end, at + 1)
    return verdict if verdict else result


cdef int reach_position(
    const Plan* plan, const Node* node, const unsigned char* p, const unsigned char* end, int at
) noexcept nogil:
    cdef const unsigned char* item = NULL
    if at == node.part_count:
        return test(plan, node, p, end)
    if is_map(p, end):
        if field_of(p, end, &node.parts[at], &item) < 0:
            return DAMAGED
        return reach(plan, node, item, end, at)
    return reach_array(plan, node, p, end, at) if is_array(p, end) else NO


# ---- combining


cdef int judge(
    const Plan* plan, const Node* node, const unsigned char* root, const unsigned char* end, const unsigned char** slots
) noexcept nogil:
    """The verdict of a node over a document, or over an array element (then without slots)."""
    cdef const unsigned char* item = NULL
    cdef int op = node.op
    cdef int i, verdict, decisive, result
    if op == O_AND or op == O_OR:
        decisive = op == O_OR
        result = not decisive
        for i in range(node.child_count):
            verdict = judge(plan, &plan.nodes[node.children[i]], root, end, slots)
            if verdict == decisive or verdict < 0:
                return verdict
            if verdict == UNKNOWN:
                result = UNKNOWN
        return result
    if op == O_NOT:
        verdict = judge(plan, &plan.nodes[node.children[0]], root, end, slots)
        return 1 - verdict if verdict == YES or verdict == NO else verdict
    if op <= O_UNKNOWN:
        return YES if op == O_TRUE else NO if op == O_FALSE else UNKNOWN
    if node.part_count == 0:
        return test(plan, node, root, end)
    if slots != NULL and node.slot >= 0:
        item = slots[node.slot]
    elif field_of(root, end, &node.parts[0], &item) < 0:
        return DAMAGED
    return reach(plan, node, item, end, 0)


cdef inline int judge_conjuncts(
    const Plan* plan, int slot, const unsigned char* root, const unsigned char* end, const unsigned char** slots
) noexcept nogil:
    cdef const Node* node
    cdef int i, verdict
    cdef int result = YES
    for i in range(plan.starts[slot], plan.starts[slot + 1]):
        node = &plan.nodes[plan.conjuncts[i]]
        verdict = ASK
        if node.quick != Q_NONE and slots[slot] != NULL:
            verdict = test_quick(node, slots[slot], end)
        if verdict == ASK:
            verdict = judge(plan, node, root, end, slots)
        if verdict <= 0:
            return verdict
        result |= verdict
    return result


cdef inline int find_slot(
    const Plan* plan, const unsigned char** slots, const unsigned char* name, uint32_t size
) noexcept nogil:
    cdef int slot
    if not plan.lengths >> (size & 63) & 1:
        return NO_SLOT
    for slot in range(plan.slot_count):
        if plan.slots[slot].size == size and slots[slot] == NULL and memcmp(plan.slots[slot].name, name, size) == 0:
            return slot
    return NO_SLOT


cdef inline int find_slot_at(
    const Plan* plan, const unsigned char** slots, const unsigned char** p, const unsigned char* end
) noexcept nogil:
    """Read the name at ``p`` and move to its value: the slot it fills, NO_SLOT, or DAMAGED."""
    cdef const unsigned char* name = p[0]
    cdef uint32_t length
    cdef uint64_t word
    cdef int slot
    if end - name < 33 or (name[0] & 0xE0) != 0xA0:
        if read_name(p, end, &name, &length) < 0:
            return DAMAGED
        return find_slot(plan, slots, name, length)
    length = name[0] & 31
    p[0] += 1 + length
    if not plan.lengths >> length & 1:
        return NO_SLOT
    word = load64(name)
    for slot in range(plan.slot_count):
        if (word ^ plan.slots[slot].word) & plan.slots[slot].word_mask == 0 and slots[slot] == NULL:
            if length <= 7 or memcmp(plan.slots[slot].name + 7, name + 8, length - 7) == 0:
                return slot
    return NO_SLOT


cdef int match_document(const Plan* plan, const unsigned char* data, size_t size) noexcept nogil:
    """One walk over the top-level fields; ``result`` gathers the bits of 1 and 2, so 3 is "cannot tell"."""
    cdef const unsigned char* slots[MAX_SLOTS]
    cdef const unsigned char* p = data
    cdef const unsigned char* end = data + size
    cdef int slot, verdict
    cdef int absent = plan.slot_count
    cdef int result = YES
    cdef int64_t count = open_map(&p, end)
    if count < 0:
        return DAMAGED
    for slot in range(plan.slot_count):
        slots[slot] = NULL
    while count and absent:
        count -= 1
        slot = find_slot_at(plan, slots, &p, end)
        if slot == DAMAGED:
            return DAMAGED
        if slot >= 0:
            slots[slot] = p
            absent -= 1
            verdict = judge_conjuncts(plan, slot, data, end, slots)
            if verdict <= 0:
                return verdict
            result |= verdict
        if absent and skip_value(&p, end) < 0:
            return DAMAGED
    for slot in range(plan.slot_count + 1):
        if slot == plan.slot_count or slots[slot] == NULL:
            verdict = judge_conjuncts(plan, slot, data, end, slots)
            if verdict <= 0:
                return verdict
            result |= verdict
    return UNKNOWN if result & UNKNOWN else YES


cdef int program_match(Program program, const unsigned char* data, size_t size) noexcept nogil:
    return match_document(&program.plan, data, size)


# ---- building the plan from tuples: (op, children) or (op, path, ...) as language/programs.py writes them


cdef class Program:
    """A predicate compiled for stored documents; immutable, shared freely between threads.

    ``exact``: ``match`` never answers 2.
    """

    def __init__(self, tuple plan):
        """``plan`` is what ``programs.compile_program`` makes of a filter tree."""
        cdef list flat = []
        self.blocks = []
        root = flatten(plan, flat)
        self.exact = all([node["op"] != "unknown" for node in flat])
        self.plan.nodes = <Node*>self.block(len(flat) * sizeof(Node))
        self.plan.root = root
        slots = self.choose_slots(flat, root)
        for i, node in enumerate(flat):
            self.fill(&self.plan.nodes[i], node, slots)
        self.choose_conjuncts(flat, root, len(slots))

    cdef void* block(self, size_t size) except NULL:
        """Return zeroed memory that lives as long as the program."""
        memory = bytes(size + 1)
        self.blocks.append(memory)
        return <void*>PyBytes_AS_STRING(memory)

    cdef const unsigned char* text(self, bytes memory):
        self.blocks.append(memory)
        return <const unsigned char*>PyBytes_AS_STRING(memory)

    cdef dict choose_slots(self, list flat, int root):
        cdef dict slots = {}
        for node in walk_top(flat, root):
            path = node.get("path")
            if path and path[0][0] not in slots and len(slots) < MAX_SLOTS:
                name = path[0][0]
                self.plan.slots[len(slots)].name = self.text(name)
                self.plan.slots[len(slots)].size = <uint32_t>len(name)
                self.plan.slots[len(slots)].word, self.plan.slots[len(slots)].word_mask = first_word(stored_head(name) + name)
                self.plan.lengths |= <uint64_t>1 << (len(name) & 63)
                slots[name] = len(slots)
        self.plan.slot_count = <int>len(slots)
        return slots

    cdef choose_conjuncts(self, list flat, int root, int slots):
        parts = flat[root]["children"] if flat[root]["op"] == "and" else [root]
        self.plan.conjuncts = <int*>self.block(len(parts) * sizeof(int))
        at = 0
        for slot in range(slots + 1):
            self.plan.starts[slot] = at
            for part in parts:
                own = self.plan.nodes[part].slot
                if own == slot or (own < 0 and slot == slots):
                    self.plan.conjuncts[at] = part
                    at += 1
        self.plan.starts[slots + 1] = at

    cdef fill(self, Node* node, dict form, dict slots):
        path = form.get("path", ())
        node.op = OPS[form["op"]]
        node.slot = slots.get(path[0][0], -1) if path else -1
        node.fans_out = form["op"] not in ("exists", "size", "elem_value", "elem_object")
        node.accepts = form.get("accepts", 0)
        node.number = form.get("number", 0)
        node.remainder = form.get("remainder", 0)
        node.mask = form.get("mask", 0)
        node.part_count = <int>len(path)
        node.parts = <Part*>self.block(len(path) * sizeof(Part))
        for i, (name, position) in enumerate(path):
            node.parts[i].name = self.text(name)
            node.parts[i].size = <uint32_t>len(name)
            node.parts[i].position = position
        children = form.get("children", ())
        node.child_count = <int>len(children)
        node.children = <int*>self.block(len(children) * sizeof(int))
        for i, child in enumerate(children):
            node.children[i] = child
        positions = form.get("positions", ())
        node.position_count = <int>len(positions)
        node.positions = <int64_t*>self.block(len(positions) * sizeof(int64_t))
        for i, position in enumerate(positions):
            node.positions[i] = position
        operands = form.get("operands", ())
        node.operand_count = <int>len(operands)
        node.operands = <Operand*>self.block(len(operands) * sizeof(Operand))
        for i, operand in enumerate(operands):
            self.fill_operand(&node.operands[i], operand)
        if form["op"] == "compare" and len(path) == 1 and node.slot >= 0:
            self.fill_quick(node)   # which reads the slot

    cdef fill_quick(self, Node* node):
        cdef Operand* operand = node.operands
        if operand.type == T_STRING and node.accepts == 2 and operand.size <= 31:
            node.quick = Q_TEXT
            node.word, node.word_mask = first_word(operand.raw[:operand.size])
        elif operand.type in (T_INT, T_LONG, T_DOUBLE) and not operand.nan:
            node.quick = Q_INTEGER

    cdef fill_operand(self, Operand* operand, dict form):
        operand.type = TYPES[form["type"]]
        operand.nan = form.get("nan", False)
        operand.outside = form.get("outside", 0)
        operand.integral = form.get("integral", False)
        operand.exact = form.get("exact", False)
        operand.floor = form.get("floor", 0)
        operand.low = form.get("low", 0.0)
        raw, key = form.get("raw", b""), form.get("key", b"")
        operand.raw, operand.size = self.text(raw), <uint32_t>len(raw)
        operand.key, operand.key_size = self.text(key), <uint32_t>len(key)

    def match(self, bytes data not None):
        """Return 1 (matches), 0 (does not) or 2 (ask the reference). Raises CorruptError for damaged bytes."""
        cdef int verdict
        cdef const unsigned char* memory = <const unsigned char*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data)
        verdict = match_document(&self.plan, memory, size)
        if verdict < 0:
            raise damaged()
        return verdict

    def select(self, documents):
        """Return the verdicts of many stored documents, without the GIL. Raises CorruptError for damaged bytes."""
        cdef tuple held = tuple(documents)
        cdef Py_ssize_t count = len(held)
        cdef Py_ssize_t i
        cdef bytes data
        cdef const unsigned char** memory = <const unsigned char**>malloc((count + 1) * sizeof(void*))
        cdef size_t* sizes = <size_t*>malloc((count + 1) * sizeof(size_t))
        cdef signed char* verdicts = <signed char*>malloc(count + 1)
        try:
            if memory == NULL or sizes == NULL or verdicts == NULL:
                raise MemoryError
            for i in range(count):
                data = held[i]
                if data is None:
                    raise TypeError("stored documents are bytes")
                memory[i] = <const unsigned char*>PyBytes_AS_STRING(data)
                sizes[i] = PyBytes_GET_SIZE(data)
            with nogil:
                for i in range(count):
                    verdicts[i] = <signed char>match_document(&self.plan, memory[i], sizes[i])
            for i in range(count):
                if verdicts[i] < 0:
                    raise damaged()
            return [<int>verdicts[i] for i in range(count)]
        finally:
            free(memory)
            free(sizes)
            free(verdicts)


def damaged():
    return CorruptError("a stored document is damaged", hint="docdb check tells how much else is")


def stored_head(name):
    """Return the byte before a name of at most 31 bytes; what begins no name where it is longer."""
    return bytes([0xA0 | len(name)]) if len(name) <= 31 else b"\xc1"


def first_word(text):
    """Return the first eight bytes as a number, and a mask of the bytes there are."""
    return int.from_bytes(text[:8].ljust(8, b"\0"), "big"), int.from_bytes((b"\xff" * min(len(text), 8)).ljust(8, b"\0"), "big")


cdef int flatten(tuple form, list flat):
    """Append the tuple form of a node and all below it; return the node's index."""
    op, fields = form
    children = fields.get("children")
    if children is not None:
        fields = {**fields, "children": [flatten(child, flat) for child in children]}
    flat.append({"op": op, **fields})
    return <int>len(flat) - 1


cdef list walk_top(list flat, int root):
    """The nodes that are judged over the document itself: all that are not below an ElemMatch."""
    found, waiting = [], [root]
    while waiting:
        node = flat[waiting.pop(0)]
        found.append(node)
        if node["op"] in ("and", "or", "not"):
            waiting.extend(node["children"])
    return found
