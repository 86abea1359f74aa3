"""What is known of characters and languages for collation: tables only.

What lives here: orders of marks, punctuation and symbols, expansions, and the tailorings of languages, after the CLDR
root collation and its tailorings. What it must not know: how keys are built (``collation``).

A tailoring is words of letters joined by ``<`` (comes right after, as a letter of its own) and ``=`` (differs from
the one before only as an accent does): ``c<č<ć`` puts č and ć between c and d, ``h<ch`` puts ch between h and i. The
first letter of a word is one of a to z.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AFTER", "CYRILLIC", "DEFAULTS", "EXPANSIONS", "FIRST_SCRIPTS", "KNOWN_LANGUAGES", "MARKS", "NEEDS_ICU",
    "PUNCTUATION", "STROKES", "SYMBOLS", "TAILORINGS", "UNSPLIT", "VARIANTS", "WHITESPACE",
]  # fmt: skip

WHITESPACE: Final = "\t\n\v\f\r "
PUNCTUATION: Final = "_-,;:!?.'\"()[]{}@*/\\&#%"
SYMBOLS: Final = "`^+<=>|~$"

# Accents in the order in which they count (UCA: acute before grave before breve ...).
MARKS: Final = "\u0301\u0300\u0306\u0302\u030c\u030a\u0308\u030b\u0303\u0307\u0338\u0327\u0328\u0304\u0309\u031b\u0323"

# One letter that counts as two, with an accent's difference.
EXPANSIONS: Final[dict[str, str]] = {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}

# Letters with a stroke count as the letter with an accent.
STROKES: Final[dict[str, str]] = {"đ": "d", "ħ": "h", "ł": "l", "ø": "o", "ŧ": "t", "ґ": "г"}

# Latin letters of their own: the letter they follow.
AFTER: Final[dict[str, str]] = {
    "ð": "d",
    "ə": "e",
    "ı": "i",
    "ĸ": "q",
    "ŋ": "n",
    "ɔ": "o",
    "ʃ": "s",
    "þ": "z",
    "ʒ": "z",
}

# Canonical decompositions that are letters of their own.
UNSPLIT: Final[tuple[str, ...]] = ("й",)

# The order of Cyrillic letters; others of the script follow by code point.
CYRILLIC: Final = "аәӕбвгғӻҕӷдԁђԃҙеєжԫҗзԅԑѕӡԇиҋійјкқӄҡҟҝԟԛлӆԯԓԡљԉԕмӎнԩӊңӈԣҥњԋоөпԥҧҁрҏԗсԍҫтԏҭћуүұѹфхӽӿҳһԧѡѿѽѻцҵчԭҷӌҹҽҿџшщъыьҍѣэюяԙѥѧѫѩѭѯѱѳѵҩԝӏ"

# What languages change in the root order; a known language that is neither here nor in NEEDS_ICU changes nothing.
TAILORINGS: Final[dict[str, str]] = {
    "az": "c<ç e<ə g<ğ h<x<ı k<q o<ö s<ş u<ü z<w",
    "bs": "c<č<ć d<dž<đ l<lj n<nj s<š z<ž",
    "cs": "c<č h<ch r<ř s<š z<ž",
    "cy": "c<ch d<dd f<ff g<ng l<ll p<ph r<rh t<th",
    "da": "d=đ=ð th=þ y=ü=ű z<æ=ä<ø=ö=ő<å=aa",
    "de@collation=phonebook": "ae=ä oe=ö ue=ü",
    "eo": "c<ĉ g<ĝ h<ĥ j<ĵ s<ŝ u<ŭ",
    "es": "n<ñ",
    "es@collation=traditional": "c<ch l<ll n<ñ",
    "et": "s<š<z<ž w<õ<ä<ö<ü",
    "fi": "y=ü z<å<ä=æ<ö=ø",
    "fil": "n<ñ<ng",
    "fo": "d=đ=ð th=þ y=ü=ű z<æ=ä=ę<ø=ö=ő=œ<å=aa",
    "gl": "n<ñ",
    "hr": "c<č<ć d<dž<đ l<lj n<nj s<š z<ž",
    "hsb": "c<č<ć e<ě h<ch k<ł r<ř s<š z<ž<ź",
    "hu": "c<cs d<dz<dzs g<gy l<ly n<ny o<ö=ő s<sz t<ty u<ü=ű z<zs",
    "is": "a<á d<ð e<é i<í o<ó u<ú y<ý z<þ<æ=ä<ö=ø<å",
    "kl": "d=đ=ð th=þ y=ü=ű z<æ=ä=ę<ø=ö=ő=œ<å",
    "lt": "c<č i=y s<š z<ž",
    "lv": "c<č g<ģ i=y k<ķ l<ļ n<ņ r<ŗ s<š z<ž",
    "mt": "b<ċ f<ġ g<għ h<ħ y<ż",
    "nb": "d=đ=ð th=þ y=ü=ű z<æ=ä=ę<ø=ö=ő=œ<å=aa",
    "nn": "d=đ=ð th=þ y=ü=ű z<æ=ä=ę<ø=ö=ő=œ<å=aa",
    "no": "d=đ=ð th=þ y=ü=ű z<æ=ä=ę<ø=ö=ő=œ<å=aa",
    "pl": "a<ą c<ć e<ę l<ł n<ń o<ó s<ś z<ź<ż",
    "ro": "a<ă<â i<î s<ș=ş t<ț=ţ",
    "sk": "a<ä c<č h<ch o<ô r<ř s<š z<ž",
    "sl": "c<č<ć d<đ s<š z<ž",
    "sq": "c<ç d<dh e<ë g<gj l<ll n<nj r<rr s<sh t<th x<xh z<zh",
    "sr_Latn": "c<č<ć d<dž<đ l<lj n<nj s<š z<ž",
    "sv": "d=đ=ð th=þ y=ü=ű z<å<ä=æ=ę<ö=ø=ő=œ=ô",
    "tr": "c<ç g<ğ h<ı o<ö s<ş u<ü",
    "vi": "a<ă<â d<đ e<ê o<ô<ơ u<ư",
    "yo": "e<ẹ g<gb o<ọ s<ṣ",
}

# The script that comes before Latin: first and last code point.
_CYRILLIC: Final = (0x0400, 0x052F)
_DEVANAGARI: Final = (0x0900, 0x097F)
FIRST_SCRIPTS: Final[dict[str, tuple[int, int]]] = {
    "am": (0x1200, 0x139F),
    "ar": (0x0600, 0x06FF),
    "be": _CYRILLIC,
    "bg": _CYRILLIC,
    "bn": (0x0980, 0x09FF),
    "el": (0x0370, 0x03FF),
    "fa": (0x0600, 0x06FF),
    "gu": (0x0A80, 0x0AFF),
    "he": (0x0590, 0x05FF),
    "hi": _DEVANAGARI,
    "hy": (0x0530, 0x058F),
    "ka": (0x10A0, 0x10FF),
    "kk": _CYRILLIC,
    "kn": (0x0C80, 0x0CFF),
    "ko": (0x1100, 0x11FF),
    "ky": _CYRILLIC,
    "mk": _CYRILLIC,
    "ml": (0x0D00, 0x0D7F),
    "mn": _CYRILLIC,
    "mr": _DEVANAGARI,
    "ne": _DEVANAGARI,
    "ru": _CYRILLIC,
    "sr": _CYRILLIC,
    "ta": (0x0B80, 0x0BFF),
    "te": (0x0C00, 0x0C7F),
    "th": (0x0E00, 0x0E7F),
    "uk": _CYRILLIC,
    "ur": (0x0600, 0x06FF),
    "yi": (0x0590, 0x05FF),
}

# Orders that need more data than stands here (dictionary order of ideographs, syllables); PyICU has it.
NEEDS_ICU: Final = frozenset({"bo", "dz", "haw", "km", "lo", "my", "si", "ug", "zh", "zh_Hant"})

# Options that a language sets differently when the caller says nothing.
DEFAULTS: Final[dict[str, dict[str, object]]] = {
    "da": {"caseFirst": "upper"},
    "fr_CA": {"backwards": True},
    "mt": {"caseFirst": "upper"},
    "th": {"alternate": "shifted"},
}

KNOWN_LANGUAGES: Final = frozenset([
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "bo", "bs", "ca", "ceb", "chr", "cs", "cy", "da", "de", "dsb",
    "dz", "ee", "el", "en", "eo", "es", "et", "fa", "fi", "fil", "fo", "fr", "ga", "gl", "gu", "ha", "haw", "he",
    "hi", "hr", "hsb", "hu", "hy", "id", "ig", "is", "it", "ja", "ka", "kk", "kl", "km", "kn", "ko", "kok", "ky",
    "lb", "li", "lkt", "ln", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "mt", "my", "nb", "ne", "nl", "nn",
    "no", "nso", "om", "or", "pa", "pl", "ps", "pt", "ro", "ru", "se", "si", "sk", "sl", "smn", "sq", "sr",
    "sr_Latn", "sv", "sw", "ta", "te", "th", "tk", "tn", "to", "tr", "ug", "uk", "ur", "uz", "vi", "wae", "wo",
    "xh", "yi", "yo", "zh", "zh_Hant", "zu",
])  # fmt: skip

VARIANTS: Final = frozenset([
    "big5han", "compat", "dictionary", "ducet", "emoji", "eor", "gb2312han", "phonebook", "phonetic", "pinyin",
    "reformed", "search", "searchjl", "standard", "stroke", "traditional", "unihan", "zhuyin",
])  # fmt: skip
