"""The English words that decide whether two questions ask the same: small closed lists, nothing computed."""


def _read_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _read_groups(text: str) -> dict[str, str]:
    """Map every word of a line to the line's first word; `_` stands for a space."""
    lines = [line.split() for line in text.strip().splitlines()]
    return {word.replace("_", " "): line[0] for line in lines for word in line}


def _read_opposites(text: str) -> dict[str, frozenset[str]]:
    """Read `this/that` pairs into both directions."""
    found: dict[str, set[str]] = {}
    for pair in text.split():
        first, second = pair.split("/")
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return {word: frozenset(others) for word, others in found.items()}


CONTRACTIONS = {
    "won't": "will not", "can't": "can not", "cannot": "can not", "shan't": "shall not", "ain't": "is not",
    "let's": "let us", "y'all": "you all", "dont": "do not", "doesnt": "does not", "didnt": "did not",
    "isnt": "is not", "arent": "are not", "wasnt": "was not", "cant": "can not", "wont": "will not",
    "havent": "have not", "hasnt": "has not", "couldnt": "could not", "shouldnt": "should not", "wouldnt": "would not",
    "whats": "what is",
    "hows": "how is", "wheres": "where is", "whos": "who is", "whens": "when is", "thats": "that is",
    "theres": "there is", "im": "i am", "ive": "i have", "youre": "you are", "pls": "please", "plz": "please",
    "gonna": "going to", "wanna": "want to", "gimme": "give me", "lemme": "let me", "u": "you", "ur": "your",
    "w/": "with", "w/o": "without", "vs": "versus", "&": "and", "'em": "them", "coz": "because", "bc": "because",
    "thru": "through", "tho": "though", "thx": "thanks", "abt": "about", "yr": "year", "yrs": "year",
}  # fmt: skip
ENDINGS = {"n't": " not", "'s": " 's", "'re": " are", "'ve": " have", "'ll": " will", "'m": " am", "'d": " would"}
# After these words 's is a verb, after any other the sign of an owner.
IS_AFTER = _read_set("what how where who when why that there it he she this which here")

# Words that only hold a sentence together.
FILLERS = _read_set(
    "a an the there um uh er really actually exactly basically simply please kindly just so then ever 's"
)
PRESENT_BE = _read_set("is are am be being")
AUXILIARIES = _read_set("do does")
SUBJECTS = _read_set("i you we one someone somebody anyone a person people")
EASY_MODALS = _read_set("do does can could should would shall may might must to will")
MODALS = _read_groups("can could may might able\nshould ought shall\nmust\nwill\nwould\ndid")
QUESTION_WORDS = _read_set("what which who whom whose where when why how")
YES_NO = _read_set(
    "is are am was were do does did can could should would will shall has have had may might must does isnt"
)
HOW_MEASURES = _read_set(
    "many much long often old far big large tall high fast quickly soon quick deep heavy wide strong hot"
)

# Verbs that turn what follows them into its opposite, by what they do; the other question must have one like it.
TURNING = _read_groups("""
avoid prevent avoiding preventing avoided prevented skip
forbid ban prohibit forbidden banned prohibited
refuse reject deny decline refused rejected denied declined
dislike hate disliked hated
ignore disregard
fail failed failing fails
exclude omit
""")
NEGATIONS = _read_set(
    "not no never without none nobody nothing neither nor nowhere cannot hardly barely non unable lack n't"
)
NUMBER_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
MULTIPLIERS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "lakh": 10**5,
               "crore": 10**7, "dozen": 12}  # fmt: skip
FRACTIONS = {"half": "0.5", "quarter": "0.25", "twice": "2x", "double": "2x", "triple": "3x", "thrice": "3x"}
ORDINALS = {
    "first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th", "seventh": "7th",
    "eighth": "8th", "ninth": "9th", "tenth": "10th", "eleventh": "11th", "twelfth": "12th", "twentieth": "20th",
}  # fmt: skip
ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12"}
UNITS = _read_groups("""
mg milligram milligrams
mcg microgram micrograms ug
g gram grams gramme grammes
kg kilo kilos kilogram kilograms kgs
lb lbs
oz ounce ounces
stone stones
mm millimetre millimetres millimeter millimeters
cm centimetre centimetres centimeter centimeters
metre metres meter meters m
km kilometre kilometres kilometer kilometers kms
mile miles mi
ft foot feet
inch inches
yard yards
l litre litres liter liters
ml millilitre millilitres milliliter milliliters
gallon gallons
pint pints
cup cups
tbsp tablespoon tablespoons
tsp teaspoon teaspoons
hour hours hr hrs h
minute minutes min mins
sec secs seconds
ms millisecond milliseconds
day days
week weeks
month months
year years yr yrs
decade decades
century centuries
am a.m.
pm p.m.
percent % pct
usd $ dollar dollars
eur € euro euros
gbp £ pounds pound quid
jpy ¥ yen
inr ₹ rupee rupees rs
cent cents
pence p
b byte bytes
kb kilobyte kilobytes
mb megabyte megabytes
gb gigabyte gigabytes gigs
tb terabyte terabytes
hz hertz
mhz
ghz
w watt watts
kw kilowatt kilowatts
kwh
v volt volts
amp amps
celsius °c
fahrenheit °f
degree degrees °
mph
kph km/h
calorie calories kcal
px pixel pixels
acre acres
""")

# A word of a group asks the same as another of it. Only pairs that hold in nearly every question.
SYNONYMS = _read_groups("""
usa the_us america u.s u.s.a united_states
uk u.k britain united_kingdom
uae united_arab_emirates
nyc new_york_city
eu european_union
phone telephone
cellphone mobile_phone cell_phone smartphone
photo photograph picture pic photos pics
bike bicycle
tv television
email e-mail
website site web_site webpage web_page
info information
ok okay
begin start
buy purchase
maths math mathematics
favourite favorite
colour color
organisation organization
programme program
centre center
licence license
cheque check
grey gray
realise realize
recognise recognize
travelling traveling
cancelled canceled
cancelling canceling
postcode zipcode zip_code
learn study
quick fast
kid child children
people person
man men
woman women
without with_no
sideeffect side_effect side_effects
""")
# Two lists that must not meet: one word here and its opposite there.
OPPOSITES = _read_opposites("""
open/close open/closed opened/closed opening/closing opens/closes enable/disable enabled/disabled activate/deactivate
start/stop start/end start/finish begin/end begin/finish starting/ending on/off in/out up/down over/under above/below
inside/outside indoors/outdoors indoor/outdoor before/after with/without for/against within/after left/right
top/bottom front/back high/low higher/lower highest/lowest big/small bigger/smaller biggest/smallest large/small
larger/smaller largest/smallest long/short longer/shorter longest/shortest tall/short taller/shorter tallest/shortest
old/new old/young older/newer older/younger oldest/newest oldest/youngest fast/slow faster/slower fastest/slowest
quick/slow hot/cold hotter/colder hottest/coldest warm/cool warm/cold warmer/cooler wet/dry rich/poor richest/poorest
good/bad better/worse best/worst easy/hard easy/difficult easier/harder easiest/hardest cheap/expensive
cheaper/pricier cheapest/priciest cheapest/dearest heavy/light heavier/lighter heaviest/lightest strong/weak
stronger/weaker strongest/weakest deep/shallow deepest/shallowest wide/narrow thick/thin fat/thin clean/dirty
safe/unsafe safe/dangerous safest/dangerous happy/sad happy/unhappy love/hate like/dislike like/hate win/lose won/lost
win/lost pass/fail passed/failed success/failure increase/decrease increased/decreased increasing/decreasing
increases/decreases raise/lower raise/reduce increase/reduce increase/lower rise/fall grow/shrink gain/lose gain/loss
profit/loss more/less more/fewer most/least most/fewest many/few maximum/minimum max/min maximise/minimise
maximize/minimize upper/lower add/remove add/delete added/removed attach/detach insert/remove include/exclude
included/excluded includes/excludes including/excluding import/export imports/exports upload/download
uploaded/downloaded uploading/downloading send/receive sent/received sending/receiving buy/sell bought/sold
buying/selling lend/borrow lending/borrowing lender/borrower give/take give/receive push/pull accept/reject
accept/decline accepted/rejected approve/reject approve/deny approved/declined approved/rejected allow/forbid
allow/block allow/prevent allow/deny allowed/forbidden allowed/banned permit/prohibit permitted/prohibited
grant/revoke grant/deny grants/revokes legal/illegal lawful/unlawful lock/unlock locked/unlocked locking/unlocking
block/unblock blocked/unblocked freeze/unfreeze subscribe/unsubscribe install/uninstall installed/uninstalled
mute/unmute follow/unfollow hide/show hide/unhide hidden/visible zip/unzip wrap/unwrap pack/unpack load/unload
link/unlink pin/unpin tie/untie dress/undress encrypt/decrypt encode/decode compress/decompress compress/extract
connect/disconnect connected/disconnected plug/unplug login/logout signin/signout upgrade/downgrade
upgraded/downgraded upgrading/downgrading arrive/depart arrive/leave arrival/departure arrivals/departures
arriving/departing enter/exit enter/leave entrance/exit entry/exit join/leave come/go push/pop deposit/withdraw
deposit/withdrawal deposits/withdrawals depositing/withdrawing deposited/withdrawn credit/debit pay/owe hire/fire
employ/dismiss employer/employee employed/unemployed employed/self-employed landlord/tenant landlords/tenants
buyer/seller teacher/student teachers/students doctor/patient parent/child parents/children husband/wife
brother/sister mother/father mom/dad mum/dad son/daughter boy/girl boys/girls man/woman men/women male/female
males/females king/queen boyfriend/girlfriend uncle/aunt him/her his/her he/she gentleman/lady single/married
single/double single/return single/joint full/empty full-time/part-time full/partial full/part whole/half
public/private internal/external domestic/international local/global local/remote online/offline online/in-person
urban/rural national/international ancient/modern past/future early/late earlier/later earliest/latest first/last
next/previous previous/following before/during after/during morning/evening morning/night day/night daily/weekly
daily/monthly weekly/monthly monthly/yearly monthly/annual weekly/yearly daily/yearly summer/winter spring/autumn
spring/fall north/south east/west northern/southern eastern/western advantage/disadvantage advantages/disadvantages
benefit/drawback benefits/drawbacks benefits/risks benefit/risk pros/cons pro/con strength/weakness
strengths/weaknesses positive/negative plus/minus cause/effect causes/effects cause/symptom causes/symptoms
cause/treatment causes/treatments symptoms/treatments symptom/treatment symptoms/treatment cause/prevent
causes/prevents question/answer problem/solution problems/solutions create/destroy create/delete build/demolish
save/delete save/spend keep/delete keep/discard keep/lose find/lose found/lost remember/forget rewind/forward
awake/asleep wake/sleep live/die alive/dead birth/death born/died friend/enemy friends/enemies attack/defend war/peace
guilty/innocent truth/lie true/false right/wrong yes/no always/never always/sometimes often/rarely often/seldom
usually/rarely everyone/nobody everyone/noone everything/nothing all/none all/some every/some every/no any/no
both/neither either/neither only/also major/minor superior/inferior input/output client/server client/lawyer
read/write reading/writing reader/writer source/destination sender/recipient sender/receiver ascending/descending
horizontal/vertical row/column rows/columns odd/even singular/plural acid/base acidic/basic solid/liquid gas/liquid
hard/soft rough/smooth sharp/blunt tight/loose tighten/loosen bright/dark light/dark loud/quiet noisy/quiet sweet/sour
sweet/bitter sweet/savoury fresh/stale raw/cooked boil/freeze boiling/freezing melting/boiling vegetarian/vegan
refundable/non-refundable adult/child adults/children senior/junior undergraduate/postgraduate bachelor/master
beginner/expert beginner/advanced basic/advanced standard/premium free/paid temporary/permanent fixed/variable
optional/mandatory optional/required required/prohibited compulsory/optional voluntary/mandatory gross/net
debit/credit supply/demand import/consume producer/consumer predator/prey male/man speed/slow accelerate/decelerate
accelerate/brake expand/contract expand/collapse inhale/exhale gain/reduce agree/disagree appear/disappear
trust/distrust honest/dishonest obey/disobey respect/disrespect qualify/disqualify able/unable possible/impossible
legal/unlawful polite/rude polite/impolite patient/impatient mature/immature moral/immoral perfect/imperfect
regular/irregular rational/irrational relevant/irrelevant responsible/irresponsible formal/informal correct/incorrect
complete/incomplete dependent/independent direct/indirect visible/invisible sufficient/insufficient secure/insecure
sane/insane valid/invalid active/inactive active/passive effective/ineffective efficient/inefficient
expensive/inexpensive accurate/inaccurate eligible/ineligible edible/inedible reversible/irreversible
replaceable/irreplaceable literate/illiterate logical/illogical malicious/benign benign/malignant healthy/unhealthy
healthy/ill healthy/sick lucky/unlucky fair/unfair certain/uncertain common/uncommon common/rare usual/unusual
likely/unlikely known/unknown familiar/unfamiliar necessary/unnecessary popular/unpopular pleasant/unpleasant
reliable/unreliable stable/unstable successful/unsuccessful willing/unwilling wanted/unwanted limited/unlimited
paid/unpaid sent/unsent used/unused used/new read/unread finished/unfinished opened/unopened resolved/unresolved
married/unmarried married/divorced married/separated virgin/experienced overweight/underweight
overestimate/underestimate overpaid/underpaid overpay/underpay inbound/outbound incoming/outgoing inflation/deflation
inner/outer introvert/extrovert majority/minority optimist/pessimist optimistic/pessimistic offense/defense
explicit/implicit ascend/descend import/ban hello/goodbye mail/email begin/stop begin/quit before/during
after/during during/without
""")
