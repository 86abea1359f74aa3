"""Numbers that are computed of a field. Part of grouping.pyx.

Doubles stand for ints, too, as long as they are exact: an int beyond 2**53 is declined wherever it turns up, and so are infinities and NaN.
"""

cdef enum:
    DEEPEST = 16

cdef enum Operation:
    OF_FIELD = 0
    OF_CONSTANT = 1
    ABSOLUTE = 2
    ADD = 3
    CEILING = 4
    DIVIDE = 5
    FLOOR = 6
    REMAINDER = 7
    MULTIPLY = 8
    SUBTRACT = 9
    TRUNCATE = 10

cdef double LARGEST_WHOLE = 9007199254740992.0

cdef struct Number:
    double value
    bint whole              # an int

cdef struct Step:
    int operation
    Number constant


cdef class Computing(Reading):
    """A value that steps of a stack machine make of the field's: (operation, constant, whether that is an int)."""

    cdef Step* steps
    cdef int count

    def __init__(self, tuple steps not None):
        cdef int at, depth = 0
        if self.steps != NULL:
            raise ValueError("it has its steps")
        self.steps = <Step*>malloc((len(steps) + 1) * sizeof(Step))
        if self.steps == NULL:
            raise MemoryError
        for at, (operation, constant, whole) in enumerate(steps):
            if not OF_FIELD <= operation <= TRUNCATE:
                raise ValueError("no such operation")
            self.steps[at].operation = operation
            self.steps[at].constant.value, self.steps[at].constant.whole = constant, whole
            depth += operands_of(operation, 1, 0, -1)
            if not 0 < depth <= DEEPEST:
                raise ValueError("the steps do not fit the stack")
        if depth != 1:
            raise ValueError("the steps leave one value")
        self.count = <int>len(steps)

    def __dealloc__(self):
        free(self.steps)

    cdef int put(self, const unsigned char* p, const unsigned char* end, Buffer* out) except -2:
        cdef Number stack[DEEPEST]
        cdef Number field
        cdef int at, top = -1
        cdef Step* step
        if p == NULL or (p < end and p[0] == 0xC0):
            if buffer_byte(out, NULL_TAG) < 0:
                raise MemoryError
            return 0
        if number_of(p, end, &field) < 0:
            return -1
        for at in range(self.count):
            step = &self.steps[at]
            if step.operation == OF_FIELD or step.operation == OF_CONSTANT:
                top += 1
                stack[top] = field if step.operation == OF_FIELD else step.constant
                continue
            if operands_of(step.operation, 0, 0, 1):
                top -= 1
                if pair(step.operation, &stack[top], &stack[top + 1]) < 0:
                    return -1
            else:
                single(step.operation, &stack[top])
            if not isfinite(stack[top].value) or (stack[top].whole and fabs(stack[top].value) > LARGEST_WHOLE):
                return -1
        if key_of_double(stack[0].value, out) < 0:
            raise MemoryError
        return 0


cdef inline int operands_of(int operation, int none, int one, int two) noexcept nogil:
    """Return one of three numbers, by the operands an operation takes."""
    if operation == OF_FIELD or operation == OF_CONSTANT:
        return none
    if operation == ABSOLUTE or operation == CEILING or operation == FLOOR or operation == TRUNCATE:
        return one
    return two


cdef int number_of(const unsigned char* p, const unsigned char* end, Number* number) noexcept nogil:
    """Read a number that a double tells exactly; -1 for anything else."""
    cdef Value value
    cdef int64_t whole
    cdef int kind = read_value(&p, end, &value)
    if kind == FLOAT:
        number.value, number.whole = value.real, False
        return 0 if isfinite(value.real) else -1
    if kind == INT:
        whole = value.integer
    elif kind == EXT and value.code == INT64 and value.size == 8:
        whole = <int64_t>load64(value.body)
    else:
        return -1
    if not -9007199254740992LL <= whole <= 9007199254740992LL:
        return -1
    number.value, number.whole = <double>whole, True
    return 0


cdef int pair(int operation, Number* left, const Number* right) noexcept nogil:
    """Put the result of two operands in the place of the first; -1 for a division by zero."""
    left.whole = left.whole and right.whole and operation != DIVIDE
    if operation == ADD:
        left.value = left.value + right.value
    elif operation == SUBTRACT:
        left.value = left.value - right.value
    elif operation == MULTIPLY:
        left.value = left.value * right.value
    elif right.value == 0:
        return -1
    elif operation == DIVIDE:
        left.value = left.value / right.value
    else:
        left.value = fmod(left.value, right.value)
    return 0


cdef void single(int operation, Number* number) noexcept nogil:
    if operation == ABSOLUTE:
        number.value = fabs(number.value)
    elif operation == CEILING:
        number.value = ceil(number.value)
    elif operation == FLOOR:
        number.value = floor(number.value)
    else:
        number.value = trunc(number.value)
