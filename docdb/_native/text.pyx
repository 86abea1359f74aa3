# cython: language_level=3
"""Entries of a text index from stored documents: the fast twin of ``store/text_entries.py`` and, for ASCII, of ``language/text_words.py``.

What lives here: ``Vocabulary`` (the term of each word met) and ``TextEntries``. What it must not know: languages, stemmers, stop words: a word that was not met
before is given to the reference, and so is a text that is not ASCII. A document that says its language is scored by the reference as a whole.

A text is one pass over its bytes: letters, digits, underscores (in English apostrophes) are words, lowered; a table of keyed hashes tells the term. Nothing of
the document becomes a Python object.
"""

from os import urandom

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from docdb._native.buffer cimport Buffer, buffer_byte, buffer_end, buffer_put, buffer_reserve, buffer_start
from docdb._native.packed cimport ARRAY, MAP, STR, Value, find_field, is_map, read_value, skip_value, store64
from docdb._native.program cimport Program, program_match
from docdb._native.runs cimport HEAD, PREFIX, Documents, Row, Rows, Run, new_run, rows_add, rows_settle, rows_sort
from docdb._native.siphash cimport siphash

cdef enum:
    STOP = 0                # the term of a stop word
    COUNTS = 64             # frequencies that make a difference
    DEEPEST = 100
    PAUSE = 64              # documents between two chances for other threads

cdef enum Outcome:
    LEFT = -1               # to the reference
    DONE = 0

cdef struct Word:
    uint64_t hash
    size_t at
    uint32_t size
    int32_t term            # STOP, or its number; -1: an empty place

cdef struct Term:
    size_t at
    uint32_t size

cdef struct Tally:          # of a term
    int64_t text            # the last text it was met in, and how often there
    int64_t count
    int64_t document        # the last document, and its score there
    double score
    uint32_t start              # of its postings, while they are put in order; 0 in between

cdef struct Posting:
    int32_t term
    uint32_t document
    double score

cdef uint64_t SECRET_0 = int.from_bytes(urandom(8), "little")
cdef uint64_t SECRET_1 = int.from_bytes(urandom(8), "little")


cdef class Vocabulary:
    """The terms of words of one language. ``term_of(word)`` gives the term of a lowered word, "" for none, ``terms_of(text)`` those of any text.

    When more than ``most`` words were met it begins anew with the next run. For one thread at a time.
    """

    cdef size_t most
    cdef object term_of
    cdef object terms_of
    cdef dict numbers
    cdef Word* words
    cdef size_t room
    cdef size_t count
    cdef Term* terms
    cdef Tally* tallies         # as many as terms: what its user counts
    cdef int32_t term_count
    cdef int32_t term_room
    cdef int64_t text           # numbers of the text and the document that are counted
    cdef int64_t document
    cdef Buffer memory
    cdef unsigned char lowered[256]     # 0 where no word goes on

    def __cinit__(self):
        if buffer_start(&self.memory, 4096) < 0:
            raise MemoryError

    def __init__(self, term_of, terms_of, bytes letters not None, size_t most):
        cdef unsigned char letter
        self.term_of, self.terms_of, self.most = term_of, terms_of, most
        memset(self.lowered, 0, 256)
        for letter in letters:
            self.lowered[letter] = letter + 32 if 65 <= letter <= 90 else letter
        self.forget()

    def __dealloc__(self):
        free(self.words)
        free(self.terms)
        free(self.tallies)
        buffer_end(&self.memory)

    cdef int forget(self) except -1:
        """Begin anew."""
        cdef size_t at
        free(self.words)
        self.room = 1024
        self.words = <Word*>calloc(self.room, sizeof(Word))
        if self.words == NULL:
            raise MemoryError
        for at in range(self.room):
            self.words[at].term = -1
        self.count = self.memory.size = 0
        self.numbers = {b"": STOP}
        self.term_count = 1
        if self.term_room == 0:
            self.grow()
        self.terms[STOP].at = self.terms[STOP].size = 0
        return 0

    cdef int32_t number(self, bytes term) except -1:
        """Return the number of a term."""
        known = self.numbers.get(term)
        if known is not None:
            return known
        if self.term_count >= self.term_room:
            self.grow()
        self.terms[self.term_count].at = self.memory.size
        self.terms[self.term_count].size = <uint32_t>PyBytes_GET_SIZE(term)
        if buffer_put(&self.memory, PyBytes_AS_STRING(term), PyBytes_GET_SIZE(term)) < 0:
            raise MemoryError
        self.numbers[term] = self.term_count
        self.term_count += 1
        return self.term_count - 1

    cdef int grow(self) except -1:
        """Have room for more terms."""
        cdef int32_t room = max(1024, 2 * self.term_room)
        cdef void* moved = realloc(self.terms, <size_t>room * sizeof(Term))
        if moved == NULL:
            raise MemoryError
        self.terms = <Term*>moved
        moved = realloc(self.tallies, <size_t>room * sizeof(Tally))
        if moved == NULL:
            raise MemoryError
        self.tallies = <Tally*>moved
        memset(self.tallies + self.term_room, 0, <size_t>(room - self.term_room) * sizeof(Tally))
        self.term_room = room
        return 0

    cdef bytes term_text(self, int32_t number):
        """Return a term."""
        return PyBytes_FromStringAndSize(<const char*>self.memory.data + self.terms[number].at, self.terms[number].size)

    cdef int32_t term(self, const unsigned char* word, size_t size) except -1:
        """Return the number of a lowered word's term."""
        cdef uint64_t hash = siphash(SECRET_0, SECRET_1, word, size)
        cdef size_t at = hash & (self.room - 1)
        cdef Word* known
        while self.words[at].term >= 0:
            known = &self.words[at]
            if known.hash == hash and known.size == size and memcmp(self.memory.data + known.at, word, size) == 0:
                return known.term
            at = (at + 1) & (self.room - 1)
        return self.learn(hash, word, size)

    cdef int32_t learn(self, uint64_t hash, const unsigned char* word, size_t size) except -1:
        cdef str text = PyBytes_FromStringAndSize(<const char*>word, size).decode("ascii")
        cdef int32_t term = self.number((<str>self.term_of(text)).encode())
        cdef size_t at
        if 2 * (self.count + 1) > self.room:
            self.widen()
        at = hash & (self.room - 1)
        while self.words[at].term >= 0:
            at = (at + 1) & (self.room - 1)
        self.words[at].hash, self.words[at].term = hash, term
        self.words[at].at, self.words[at].size = self.memory.size, <uint32_t>size
        if buffer_put(&self.memory, word, size) < 0:
            self.words[at].term = -1
            raise MemoryError
        self.count += 1
        return term

    cdef int widen(self) except -1:
        cdef size_t room = 2 * self.room, n, at
        cdef Word* words = <Word*>calloc(room, sizeof(Word))
        if words == NULL:
            raise MemoryError
        for n in range(room):
            words[n].term = -1
        for n in range(self.room):
            if self.words[n].term >= 0:
                at = self.words[n].hash & (room - 1)
                while words[at].term >= 0:
                    at = (at + 1) & (room - 1)
                words[at] = self.words[n]
        free(self.words)
        self.words, self.room = words, room
        return 0


cdef struct Branch:         # a field of the index's specification and those below it
    const unsigned char* name
    uint32_t size
    double weight
    bint counts
    int first
    int end


cdef class TextEntries:
    """Makes the entries of one text index without other fields. For one thread at a time, as its vocabulary.

    ``branches`` are (name in UTF-8, weight or None, number of the first branch below, number behind the last one), the document's own first.
    ``override`` is the field that says a document's language, ``factors`` the frequencies' factors, ``whole`` that of a word that is the whole text.
    ``scores(data)`` is the reference: the scores of a stored document by term.
    """

    cdef const unsigned char* prefix
    cdef size_t prefix_size
    cdef bytes override
    cdef Vocabulary vocabulary
    cdef object scores
    cdef object owned
    cdef Branch* branches
    cdef int branch_count
    cdef double factors[COUNTS]
    cdef double whole
    cdef Buffer met             # numbers of the terms of the text, and of the document
    cdef Buffer found
    cdef Buffer word
    cdef Buffer key
    cdef Buffer postings

    def __cinit__(self):
        if buffer_start(&self.postings, 4096) < 0:
            raise MemoryError
        if buffer_start(&self.met, 1024) < 0 or buffer_start(&self.found, 1024) < 0:
            raise MemoryError
        if buffer_start(&self.word, 256) < 0 or buffer_start(&self.key, 512) < 0:
            raise MemoryError

    def __init__(self, bytes prefix not None, tuple branches not None, bytes override not None, tuple factors not None, double whole,
                 Vocabulary vocabulary not None, scores):
        cdef int at
        if len(factors) != COUNTS:
            raise ValueError("as many factors as counts")
        self.prefix, self.prefix_size = <const unsigned char*>PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix)
        self.override, self.whole = override, whole
        self.vocabulary, self.scores, self.owned = vocabulary, scores, (prefix, branches)
        for at in range(COUNTS):
            self.factors[at] = factors[at]
        self.branch_count = len(branches)
        self.branches = <Branch*>calloc(self.branch_count + 1, sizeof(Branch))
        if self.branches == NULL:
            raise MemoryError
        for at, (name, weight, first, end) in enumerate(branches):
            if not 0 <= first <= end <= self.branch_count:
                raise ValueError("branches below are branches")
            self.branches[at].name = <const unsigned char*>PyBytes_AS_STRING(<bytes?>name)
            self.branches[at].size = <uint32_t>PyBytes_GET_SIZE(name)
            self.branches[at].counts = weight is not None
            self.branches[at].weight = 0.0 if weight is None else weight
            self.branches[at].first, self.branches[at].end = first, end

    def __dealloc__(self):
        free(self.branches)
        buffer_end(&self.met)
        buffer_end(&self.found)
        buffer_end(&self.word)
        buffer_end(&self.key)
        buffer_end(&self.postings)

    def run(self, Documents documents not None, Program program=None, bytes upto=None):
        """Return the entries of all documents as a run; ``program`` (exact) tells which the index takes, ``upto`` is the last id key it takes."""
        cdef Run run
        cdef Py_ssize_t n
        cdef const Row* row
        cdef const unsigned char* data
        cdef const unsigned char* id_key
        self.postings.size = 0
        if self.vocabulary.count > self.vocabulary.most:
            self.vocabulary.forget()
        for n in range(documents.size):
            row = &documents.rows[n]
            data = documents.memory.data + row.at + HEAD
            id_key = data + row.data_size + PREFIX
            if upto is not None and PyBytes_FromStringAndSize(<const char*>id_key, row.key_size - PREFIX) > upto:
                continue
            if program is not None and program_match(program, data, row.data_size) != 1:
                continue
            self.add(data, row.data_size, <uint32_t>n)
            if n % PAUSE == PAUSE - 1:
                with nogil:
                    pass
        run = new_run(48 * (self.postings.size // sizeof(Posting)) + 64, None)
        self.emit(documents, &run.rows)
        return run

    cdef int add(self, const unsigned char* data, size_t size, uint32_t document) except -1:
        """Add the postings of one document."""
        cdef size_t at
        cdef Posting posting
        self.vocabulary.document += 1
        self.found.size = 0
        posting.document = document
        if not is_map(data, data + size) or self.object(data, data + size, 0, 0) == LEFT:
            for text, score in self.scores(PyBytes_FromStringAndSize(<const char*>data, size)).items():
                posting.term, posting.score = self.vocabulary.number((<str?>text).encode()), score
                if buffer_put(&self.postings, &posting, sizeof(Posting)) < 0:
                    raise MemoryError
            return 0
        for at in range(0, self.found.size, sizeof(int32_t)):
            memcpy(&posting.term, self.found.data + at, sizeof(int32_t))
            posting.score = self.vocabulary.tallies[posting.term].score
            if buffer_put(&self.postings, &posting, sizeof(Posting)) < 0:
                raise MemoryError
        return 0

    cdef int emit(self, Documents documents, Rows* rows) except -1:
        """Turn the postings into pairs, term after term in order, so that only documents out of order need sorting."""
        cdef Posting* postings = <Posting*>self.postings.data
        cdef size_t count = self.postings.size // sizeof(Posting)
        cdef Vocabulary vocabulary = self.vocabulary
        cdef Tally* tallies = vocabulary.tallies
        cdef uint32_t* places = <uint32_t*>calloc(count + 1, sizeof(uint32_t))
        cdef uint32_t before = 0, here
        cdef size_t n
        cdef int32_t term
        cdef int code = 0
        cdef list used = []
        if places == NULL:
            raise MemoryError
        try:
            for n in range(count):
                term = postings[n].term
                if tallies[term].start == 0:
                    used.append((vocabulary.term_text(term), term))
                tallies[term].start += 1
            used.sort()
            for _, number in used:
                term = number
                here = tallies[term].start
                tallies[term].start = before
                before += here
            with nogil:
                for n in range(count):
                    places[tallies[postings[n].term].start] = <uint32_t>n
                    tallies[postings[n].term].start += 1
                for n in range(count):
                    tallies[postings[n].term].start = 0
                    code |= self.entry(&postings[places[n]], &documents.rows[postings[places[n]].document], documents.memory.data, rows)
                if code == 0:
                    rows_settle(rows)
                    code = rows_sort(rows)
            if code:
                raise MemoryError
        finally:
            free(places)
        return 0

    cdef int entry(self, const Posting* posting, const Row* row, const unsigned char* memory, Rows* rows) noexcept nogil:
        cdef const Term* term = &self.vocabulary.terms[posting.term]
        cdef const unsigned char* id_key = memory + row.at + HEAD + row.data_size + PREFIX
        cdef size_t id_size = row.key_size - PREFIX
        cdef unsigned char value[10]
        cdef uint64_t bits
        memcpy(&bits, &posting.score, 8)
        value[0], value[1] = <unsigned char>id_size, 0
        store64(value + 2, bits)
        self.key.size = 0
        if (
            buffer_put(&self.key, self.prefix, self.prefix_size) < 0
            or buffer_put(&self.key, self.vocabulary.memory.data + term.at, term.size) < 0 or buffer_byte(&self.key, 0) < 0
            or buffer_put(&self.key, id_key, id_size) < 0
        ):
            return -1
        return rows_add(rows, self.key.data, self.key.size, value, 10)

    # ---- the texts of a document, in the order of TextSpec.texts

    cdef int object(self, const unsigned char* p, const unsigned char* end, int branch, int depth) except -2:
        cdef const unsigned char* item
        cdef int below, there
        if find_field(
            p, end, <const unsigned char*>PyBytes_AS_STRING(self.override), <uint32_t>PyBytes_GET_SIZE(self.override), &item
        ):
            return LEFT  # a language, or damage
        for below in range(self.branches[branch].first, self.branches[branch].end):
            there = find_field(p, end, self.branches[below].name, self.branches[below].size, &item)
            if there < 0 or (there and self.value(&item, end, below, depth) == LEFT):
                return LEFT
        return DONE

    cdef int value(self, const unsigned char** p, const unsigned char* end, int branch, int depth) except -2:
        """Take the texts of a value and move behind it."""
        cdef Value value
        cdef const unsigned char* start = p[0]
        cdef uint32_t left
        cdef int kind = read_value(p, end, &value)
        if kind < 0 or depth >= DEEPEST:
            return LEFT
        if kind == STR:
            return self.add_text(value.body, value.size, self.branches[branch].weight) if self.branches[branch].counts else DONE
        if kind == MAP:
            if self.object(start, end, branch, depth + 1) == LEFT:
                return LEFT
            p[0] = start
            return DONE if skip_value(p, end) == 0 else LEFT
        if kind == ARRAY:
            left = value.size
            while left:
                left -= 1
                if self.value(p, end, branch, depth + 1) == LEFT:
                    return LEFT
        return DONE

    # ---- one text

    cdef int add_text(self, const unsigned char* text, uint32_t size, double weight) except -2:
        """Add the scores of a text's terms to those of the document."""
        cdef int64_t total
        cdef bint is_whole = False
        cdef size_t at
        cdef int32_t number
        cdef Tally* tally
        cdef double score
        self.vocabulary.text += 1
        self.met.size = 0
        if is_ascii(text, size):
            total = self.count_words(text, size)
            is_whole = total == 1 and self.is_the_whole(text, size)
        else:
            try:
                whole = PyUnicode_DecodeUTF8(<const char*>text, size, NULL)
            except UnicodeDecodeError:
                return LEFT
            terms = self.vocabulary.terms_of(whole)
            total = len(terms)
            for term in terms:
                self.count(self.vocabulary.number((<str?>term).encode()))
            is_whole = total == 1 and terms[0] == whole.lower()
        for at in range(0, self.met.size, sizeof(int32_t)):
            memcpy(&number, self.met.data + at, sizeof(int32_t))
            tally = &self.vocabulary.tallies[number]
            score = weight * self.factors[min(tally.count, COUNTS - 1)] * (0.5 * <double>tally.count / <double>total + 0.5)
            if is_whole:
                score *= self.whole
            if tally.document != self.vocabulary.document:
                tally.document = self.vocabulary.document
                tally.score = 0.0
                if buffer_put(&self.found, &number, sizeof(int32_t)) < 0:
                    raise MemoryError
            tally.score += score
        return DONE

    cdef int64_t count_words(self, const unsigned char* text, uint32_t size) except -1:
        """Count the terms of an ASCII text; return how many there are."""
        cdef uint32_t at = 0
        cdef int64_t total = 0
        cdef unsigned char letter
        cdef int32_t number
        if buffer_reserve(&self.word, size + 1) < 0:
            raise MemoryError
        while at < size:
            self.word.size = 0
            while at < size:
                letter = self.vocabulary.lowered[text[at]]
                at += 1
                if letter == 0:
                    break
                self.word.data[self.word.size] = letter
                self.word.size += 1
            if self.word.size:
                number = self.vocabulary.term(self.word.data, self.word.size)
                if number != STOP:
                    self.count(number)
                    total += 1
        return total

    cdef int count(self, int32_t number) except -1:
        cdef Tally* tally = &self.vocabulary.tallies[number]
        if tally.text != self.vocabulary.text:
            tally.text, tally.count = self.vocabulary.text, 0
            if buffer_put(&self.met, &number, sizeof(int32_t)) < 0:
                raise MemoryError
        tally.count += 1
        return 0

    cdef bint is_the_whole(self, const unsigned char* text, uint32_t size) noexcept:
        """Tell whether the only term of an ASCII text is the text, lowered."""
        cdef int32_t number
        cdef Term* term
        cdef uint32_t at
        cdef unsigned char letter
        memcpy(&number, self.met.data, sizeof(int32_t))
        term = &self.vocabulary.terms[number]
        if term.size != size:
            return False
        for at in range(size):
            letter = text[at]
            if 65 <= letter <= 90:
                letter += 32
            if self.vocabulary.memory.data[term.at + at] != letter:
                return False
        return True


cdef bint is_ascii(const unsigned char* text, uint32_t size) noexcept nogil:
    cdef uint32_t at
    for at in range(size):
        if text[at] & 0x80:
            return False
    return True
