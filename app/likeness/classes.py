"""Closed classes of words: one member never stands for another, and a few make a question nobody else's."""


def _read_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _read_members(text: str) -> dict[str, str]:
    """Read `class: member member`, where a line that begins with a space goes on with the one before."""
    found: dict[str, str] = {}
    for entry in text.strip().replace("\n ", " ").split("\n"):
        name, members = entry.split(":")
        found.update(dict.fromkeys(members.split(), name))
    return found


def _read_pairs(text: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in text.split())


# Words that change which things a question is about. A question that has one is not answered by one that has not.
SCOPE = _read_set("""
all every each only except excluding neither either half never first last next previous until least minimum maximum
min max
""")
# Their presence on one side alone is common between true duplicates, so it is evidence and no verdict.
SOFT_SCOPE = _read_set("""
most more some any other another else same different between still already ever whole again average than always instead
besides alone together total entire within versus during yet anymore before after since less fewer both
""")
TIME_SPANS = _read_set("minute hour day night morning evening week weekend month year season")
# Where a people or its language stands for its country: "the Indian president", "the president of India"; and other
# members with two names.
DEMONYMS = _read_pairs("""
american/usa british/uk french/france german/germany italian/italy spanish/spain portuguese/portugal dutch/netherlands
holland/netherlands belgian/belgium swiss/switzerland austrian/austria polish/poland russian/russia ukrainian/ukraine
turkish/turkey greek/greece swedish/sweden norwegian/norway danish/denmark finnish/finland irish/ireland
scottish/scotland welsh/wales indian/india pakistani/pakistan chinese/china japanese/japan korean/korea thai/thailand
vietnamese/vietnam indonesian/indonesia malaysian/malaysia filipino/philippines australian/australia canadian/canada
mexican/mexico brazilian/brazil egyptian/egypt moroccan/morocco nigerian/nigeria kenyan/kenya african/africa
asian/asia european/europe israeli/israel iranian/iran iraqi/iraq hungarian/hungary romanian/romania
bulgarian/bulgaria croatian/croatia serbian/serbia serb/serbia mongolian/mongolia muslim/islam christian/christianity
hindu/hinduism islamic/islam buddhist/buddhism jewish/judaism jew/judaism sikh/sikhism arabic/arab dad/father mom/mother
mum/mother northern/north southern/south eastern/east western/west jan/january feb/february mar/march apr/april
jun/june jul/july aug/august sep/september sept/september oct/october nov/november dec/december
""")

MEMBERS = _read_members("""
month: january february march april june july august september october november december jan feb mar apr jun jul aug
    sep sept oct nov dec
weekday: monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays
    saturdays sundays weekend weekends weekday weekdays
season: spring summer autumn winter christmas easter ramadan diwali halloween thanksgiving
part of a day: morning afternoon evening night noon midnight breakfast lunch dinner brunch
colour: red blue green yellow black white orange purple pink brown gray silver gold violet
direction: north south east west northern southern eastern western
planet: mercury venus mars jupiter saturn uranus neptune pluto moon sun
metal: iron copper zinc aluminium aluminum tin platinum titanium steel
country: afghanistan albania algeria argentina armenia australia austria azerbaijan bahrain bangladesh belarus belgium
    bolivia bosnia brazil bulgaria cambodia cameroon canada chile china colombia croatia cuba cyprus denmark ecuador
    egypt england estonia ethiopia fiji finland france georgia germany ghana greece greenland guatemala guyana haiti
    honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan jordan kazakhstan kenya
    korea kosovo kuwait laos latvia lebanon libya lithuania luxembourg malaysia maldives malta mexico moldova monaco
    mongolia montenegro morocco mozambique myanmar namibia nepal netherlands nicaragua nigeria norway oman pakistan
    palestine panama paraguay peru philippines poland portugal qatar romania russia rwanda scotland senegal serbia
    singapore slovakia slovenia somalia spain sudan sweden switzerland syria taiwan tanzania thailand tibet tunisia
    turkey uganda ukraine uruguay usa uk uae uzbekistan venezuela vietnam wales yemen zambia zimbabwe holland eu
continent: africa asia europe antarctica oceania
people: american british english french german italian spanish portuguese dutch belgian swiss austrian polish czech
    russian ukrainian turkish greek swedish norwegian danish finnish irish scottish welsh indian pakistani bangladeshi
    chinese japanese korean thai vietnamese indonesian malaysian filipino australian canadian mexican brazilian
    argentinian egyptian moroccan nigerian kenyan african asian european arab arabic hebrew israeli iranian persian
    iraqi hindi urdu bengali tamil telugu marathi gujarati punjabi kannada malayalam mandarin cantonese latin swahili
    esperanto hungarian romanian bulgarian croatian serbian mongolian
faith: christian islamic jew muslim hindu jewish buddhist sikh catholic protestant islam christianity hinduism judaism
    buddhism sikhism bible quran koran atheist
city: london paris berlin madrid rome vienna amsterdam brussels lisbon dublin edinburgh glasgow manchester birmingham
    liverpool leeds bristol cardiff belfast sheffield york oxford cambridge brighton nottingham leicester moscow kiev
    kyiv warsaw prague budapest athens istanbul ankara cairo lagos nairobi johannesburg dubai doha riyadh tehran
    baghdad jerusalem delhi mumbai bangalore bengaluru chennai kolkata hyderabad pune ahmedabad jaipur lucknow
    chandigarh bhopal indore noida gurgaon kochi karachi lahore islamabad dhaka kathmandu colombo beijing shanghai
    shenzhen tokyo osaka kyoto seoul taipei bangkok hanoi manila jakarta sydney melbourne brisbane perth adelaide
    auckland toronto vancouver montreal ottawa calgary boston chicago houston dallas austin seattle denver miami
    atlanta philadelphia phoenix detroit minneapolis orlando cleveland nyc barcelona valencia milan naples venice
    florence munich hamburg frankfurt cologne zurich geneva oslo stockholm copenhagen helsinki
state: alabama alaska arizona arkansas california colorado connecticut delaware florida hawaii idaho illinois indiana
    iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri montana
    nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah vermont virginia wisconsin wyoming bihar
    gujarat kerala karnataka punjab rajasthan maharashtra goa kashmir assam
maker: apple google microsoft amazon facebook twitter instagram whatsapp snapchat youtube netflix spotify uber lyft
    airbnb paypal stripe visa mastercard amex samsung nokia huawei xiaomi sony nintendo intel amd nvidia ibm oracle
    sap salesforce slack zoom dropbox github gitlab linkedin pinterest tiktok quora reddit wikipedia yahoo bing gmail
    outlook ebay alibaba flipkart walmart tesla toyota honda ford bmw audi mercedes nissan volkswagen hyundai boeing
    airbus
system: windows linux ubuntu macos mac ios android iphone ipad chrome firefox safari edge ps4 ps5 xbox
language of code: python java javascript typescript php ruby rust golang kotlin swift scala perl haskell matlab sql
    html css mysql postgresql postgres mongodb sqlite redis oracle excel powerpoint django flask angular
    vue
currency: usd eur gbp jpy inr cad aud chf dollar euro pound yen rupee bitcoin ethereum litecoin
relative: mother father brother sister son daughter uncle aunt cousin nephew niece grandmother grandfather wife
    husband boyfriend girlfriend mom dad mum girl boy girls boys
animal: dog cat horse cow pig sheep goat chicken duck rabbit bird fish snake lion tiger bear wolf dogs cats horses
""")

# Asked again later, or elsewhere, these have another answer.
TIME_WORDS = _read_set("""
now today tonight tomorrow yesterday currently current latest nowadays recent recently today's tomorrow's yesterday's
newest upcoming ongoing lately
""")
TIME_UNITS = _read_set(
    "week month year weekend morning afternoon evening night minute hour semester quarter season decade century"
)
TIME_POINTERS = _read_set("this next last past coming previous")
WEEKDAYS = _read_set("monday tuesday wednesday thursday friday saturday sunday")
TIME_PHRASES = _read_set("""
what_time_is_it the_date_is what_day_is what_date_is right_now at_the_moment so_far
as_of these_days just_happened up_to_date the_weather weather_in weather_forecast stock_price share_price
exchange_rate near_me nearby here_in where_am_i
""")
# These ask about now unless one of the words comes next: "what is the date of the fall of Rome".
TIME_QUESTIONS = _read_set("what_is_the_time what_is_the_date")
TIME_THINGS = _read_set("of needed required difference differences limit complexity span between")
# Beside these, "current" has nothing to do with now: what flows, and a bank's account.
CURRENTS = (_read_set("alternating direct electric electrical ocean eddy"), _read_set("account accounts flow flows"))
PERSON_WORDS = _read_set("i me my mine myself we us our ours ourselves i'm i've i'd i'll")
# Text that points at something the question does not hold.
DEICTIC_NOUNS = _read_set("""
text passage article paragraph document essay email message code snippet function script image picture photo video
file conversation chat table list sentence paper story poem email log error output input question answer context link
url page screenshot pdf transcript
""")
DEICTIC_POINTERS = _read_set("this that these those above following attached previous")
DEICTIC_STARTS = _read_set("it this that these those they he she him her his them their")
COMPUTE_WORDS = _read_set("""
calculate compute solve evaluate simplify factorise factorize integrate differentiate subtract multiply divide convert
modulo
""")
OPERATORS = _read_set("plus minus times multiplied divided over modulo percent squared cubed")
CODE_SIGNS = ("```", "{", "}", "();", "=>", "->", "::", "</", "/>", "&&", "||", "==", "!=", "+=", "#include",
              "SELECT ", "select *", "function(", "$(", "\\n", "<?")  # fmt: skip

# Words that are a name with a capital, and a thing without one or with an article.
HOMOGRAPHS = _read_set("""
access act aids amazon android apple arch atom august basic bat bath beam bing bumble calendar cat chad chef china
chrome citrix clippers cork corona crown crystal dart delta discord django docs dove drive echo eclipse edge elm excel
express fire flash flask ford fox galaxy gap gate georgia go groovy hack hinge hive it java jaguar jersey jordan julia
keynote kindle lisp logo mail march mars may meet mercury messages meta mint monday net nice node notes numbers office
opera oracle orange outlook pages pearl perl photos pi pig polish puma puppet python r ram react reading ring rock ruby
rust safari sat saturn scala scheme scratch shell signal slack slides snap spark spring square storm stripe sublime sun
surface swift target teams telegram tide tinder turkey unity us venus visa who window windows word zoom
""")
# After these words no noun follows that an article before them could belong to: "an apple is", not "a python list".
NO_NOUNS = _read_set("""
is are was were be in on at to from of for with without by as has have had do does did can could will would should may
might must than that which who when while if because and or
""") | {""}
# Where one of these stands, other words may be spoken of and not used, so that every letter of them counts.
MENTIONS = _read_set("""
mean means meaning meanings meant say says said saying spell spells spelled spelt spelling pronounce pronounced
pronunciation translate translated translates translation letters word words phrase phrases synonym synonyms antonym
antonyms rhyme rhymes plural plurals singular conjugate conjugated tense syllable syllables vowel vowels consonants
abbreviation abbreviated acronym stand stands define defined definition
""")
