"""What a word problem takes from the world: numbers that its words mean and nobody gives, 7 with
`week`, 4 with `square`.

    meant(["week", "half"])     # {7, 52, 1/2, 2}: a 7 in the calculations may be the days of a week
    limits(["hour", "day"])     # {24, 60, ...}: a number below one of them stays below it
"""

import re
from collections.abc import Iterable
from fractions import Fraction

# What a number in a calculation that nobody gave may come from.
MEANT = {
    "1/2": "half halve halves halved",
    "1/4": "quarter quarters fourth fourths",
    "3/4": "three-quarters three-fourths",
    "3/2": "half",
    "1/5": "fifth fifths",
    "1/10": "dime dimes tenth tenths",
    "1/20": "nickel nickels",
    "1/100": "cent cents penny pennies percent",
    "2": "half halve halves halved halfway two second twice double doubles doubled doubling couple couples "
    "pair pairs both twin twins parent parents weekend weekends bicycle bicycles bike bikes round-trip",
    "3": "three third thirds thrice triple triples tripled tripling yard yards triplet triplets",
    "4": "four fourth fourths quarter quarters quadruple quadrupled gallon gallons",
    "5": "five fifth fifths nickel nickels weekday weekdays workweek",
    "6": "six sixth sixths",
    "7": "seven seventh week weeks weekly",
    "8": "eight eighth eighths",
    "9": "nine ninth",
    "10": "ten tenth tenths dime dimes decade decades",
    "11": "eleven",
    "12": "twelve dozen dozens month months monthly year years yearly annual annually foot feet inch inches",
    "13": "thirteen",
    "14": "fourteen fortnight",
    "15": "fifteen",
    "16": "sixteen ounce ounces",
    "17": "seventeen",
    "18": "eighteen",
    "19": "nineteen",
    "20": "twenty score",
    "24": "day days daily hour hours",
    "25": "quarter quarters",
    "30": "thirty month months monthly",
    "36": "yard yards",
    "40": "forty",
    "50": "fifty",
    "52": "week weeks weekly year years yearly",
    "60": "sixty second seconds minute minutes hour hours",
    "70": "seventy",
    "80": "eighty",
    "90": "ninety",
    "100": "hundred century centuries percent percentage cent cents",
    "365": "day days year years",
    "1000": "thousand kilogram kilograms kilometer kilometers kg km liter liters litre litres gram grams",
}
# Where one of these words stands, a given number like this may be a constant as well.
NEAR = {
    "1/2": "hour minute",
    "1/4": "hour minute",
    "3/2": "overtime hour time",
    "3": "triangle triangles triangular tricycle tricycles tablespoon tablespoons teaspoon teaspoons meal "
    "meals breakfast lunch dinner trimester trimesters trio quarter quarters child children",
    "4": "quart quarts cup cups month months monthly square squares rectangle rectangles rectangular perimeter "
    "side sides wall walls corner corners room wheel wheels tire tires car cars vehicle vehicles leg legs "
    "dog dogs cat cats cow cows horse horses sheep pig pigs goat goats animal animals paw paws table "
    "tables chair chairs season seasons suit suits quartet fence fenced fencing family week weeks "
    "foursome",
    "5": "workday workdays work works working school week weeks weekly finger fingers toe toes hand hands foot "
    "feet pentagon basketball month months star stars cent cents",
    "6": "cube cubes cubic die dice hexagon insect insects ant ants bee bees month months guitar guitars half "
    "year pack packs school",
    "7": "day days daily everyday",
    "8": "octopus octopuses spider spiders cup cups pint pints gallon gallons ounce ounces octagon slice "
    "slices pizza shift workday work works hour hours byte bytes",
    "9": "yard yards baseball",
    "10": "finger fingers toe toes millimeter millimeters centimeter centimeters mm cm nickel nickels dollar "
    "dollars percent",
    "11": "soccer football",
    "12": "noon midnight clock egg eggs hour hours",
    "13": "card cards deck decks baker's",
    "14": "week weeks day days",
    "15": "quarter quarters minute minutes hour hours",
    "16": "oz pound pounds lb lbs cup cups",
    "18": "hole holes golf",
    "20": "fifth fifths nickel nickels minute minutes percent week weeks month months hour hours",
    "21": "week weeks day days",
    "22": "weekday weekdays workday workdays month",
    "25": "percent cent cents",
    "26": "alphabet letter letters biweekly week weeks",
    "28": "day days month months week weeks",
    "30": "minute minutes hour hours day days half",
    "31": "day days month months january march may july august october december",
    "32": "ounce ounces quart freezing teeth",
    "36": "inch inches month months year years",
    "40": "hour hours week weeks",
    "45": "quarter minute minutes",
    "48": "hour hours month months year years",
    "50": "half percent state states cent cents dollar dollars",
    "52": "card cards deck decks",
    "54": "card cards deck decks",
    "64": "ounce ounces chess gallon gallons",
    "72": "hour hours",
    "75": "percent quarter quarters cent cents",
    "90": "angle angles degree degrees minute minutes day days",
    "100": "dollar dollars meter meters metre metres centimeter centimeters cm percent",
    "120": "minute minutes hour hours",
    "128": "ounce ounces gallon gallons",
    "144": "gross inch inches",
    "168": "hour hours",
    "180": "angle angles degree degrees triangle triangles minute minutes hour hours",
    "360": "angle angles degree degrees circle",
    "366": "day days leap",
    "500": "half",
    "1000": "kilo kilos ml milliliter milliliters meter meters",
    "1440": "minute minutes",
    "1760": "mile miles",
    "2000": "ton tons pound pounds",
    "3600": "second seconds",
    "5280": "mile miles feet",
}


# `2.54 cm per inch`, `an inch is 2.54 cm`: two units of one kind.
KINDS = (
    "inch(?:es)?|f(?:oo|ee)t|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?|[ckm]?m",
    "ounces?|pounds?|tons?|(?:kilo|milli)?grams?|[km]?g|lbs?|oz|kilos?|stones?",
    "gallons?|quarts?|pints?|cups?|(?:tea|table)spoons?|(?:milli)?lit(?:er|re)s?|ml|ounces?",
    "seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?|centur(?:y|ies)",
    "cents?|dollars?|pounds?|euros?|pennies|nickels?|dimes?|quarters?|pesos?|yen|rupees?|francs?|crowns?",
)
CONVERSION = re.compile(
    "|".join(
        rf"\b(?:(?:an?|one|1|each|every|the) )?(?:{kind})\b (?:is|are|equals?|has|have|contains?|makes?|=|to|costs?|was|weighs?)"
        rf"(?: \w+){{0,3}}? \$?[0-9][0-9,.]* (?:{kind})\b"
        rf"|\$?[0-9][0-9,.]* (?:{kind})\b(?: \w+)?? (?:in|per|to|for|equals?|is|are|makes?)"
        rf"(?: an?| one| 1| each| every| the)? (?:{kind})\b"
        for kind in KINDS
    ),
    re.IGNORECASE,
)
# Where people are measured, a number of another size would be a giant's; the angles of a figure have their sum.
MEASURED = frozenset(("tall", "taller", "height", "heights", "angle", "angles", "triangle", "triangles"))


def _by_word(*tables: dict[str, str]) -> dict[str, set[Fraction]]:
    numbers: dict[str, set[Fraction]] = {}
    for table in tables:
        for number, words in table.items():
            for word in words.split():
                numbers.setdefault(word, set()).add(Fraction(number))
    return numbers


OF_WORD, NEAR_WORD = _by_word(MEANT), _by_word(MEANT, NEAR)
# How many of the smaller fit into the larger: who works 5 days a week cannot work 9.
LIMITS = {
    "7": "week weeks weekly",
    "12": "month months monthly year years yearly",
    "24": "day days daily hour hours",
    "28": "month months monthly",
    "31": "month months monthly",
    "52": "week weeks weekly year years",
    "60": "minute minutes second seconds hour hours",
    "100": "percent percentage old age ages older younger grade grades test tests exam exams score scores scored marks",
    "365": "day days year years",
}
SPELLED = {
    name: number
    for number, name in enumerate(
        str.split(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
            "eighteen nineteen"
        )
    )
} | {
    name: 10 * number
    for number, name in enumerate(str.split("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12}
TOTALS = (7, 12, 24, 30, 31, 52, 60, 100, 365)  # two given numbers that make one of these up may have to


def meant(words: Iterable[str]) -> set[Fraction]:
    """Numbers that these words mean."""
    return set().union(*(OF_WORD.get(word, set()) for word in words))


def near(words: Iterable[str]) -> set[Fraction]:
    """Numbers that these words mean or may go with."""
    return set().union(*(NEAR_WORD.get(word, set()) for word in words))


def spelled(words: Iterable[str]) -> set[Fraction]:
    """Numbers that stand among the words, and those that begin another: 200, 2 and 100 of `two hundred`."""
    found: set[Fraction] = set()
    whole, last = 0, 0  # of the number so far, of its last part
    for word in words:
        if word in SPELLED:
            number = SPELLED[word]
            last = last + number if last and last % 10 == 0 and number < 10 else number
        elif word in SCALES:
            number = SCALES[word]
            whole, last = (whole + last or 1) * number, 0
        elif word == "and" and whole:
            continue
        else:
            whole = last = 0
            continue
        found |= {Fraction(number), Fraction(last), Fraction(whole + last)}
    return found


def limits(words: Iterable[str]) -> set[Fraction]:
    own = set(words)
    return {Fraction(number) for number, names in LIMITS.items() if own & set(names.split())}
