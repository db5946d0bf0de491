"""Words that mostly stand for one another: evidence that two questions ask the same, never a proof."""

_GROUPS = """
buy purchase|get obtain receive acquire|show display see view|need require|remove delete erase|make create
fix repair mend|begin start commence|end finish|help assist support|big large huge|small little tiny
fast quick rapid|send post mail|change update modify edit alter switch|find locate|choose pick select
job occupation profession career|picture photo image|wrong incorrect|correct right|cost price fee charge rate
cheap inexpensive affordable|phone telephone mobile cellphone|film movie|car automobile vehicle|kid child
allow permit let|ask inquire|answer reply respond|give provide offer supply|tell inform|use utilize employ
try attempt|keep retain|stop halt quit|important essential crucial|happy glad|angry mad|sick ill|doctor physician
lawyer attorney solicitor|money cash fund|store shop|trip journey travel|house home|often frequent|maybe perhaps
approximate about rough|error mistake|problem issue trouble|cancel terminate|replace swap|verify confirm check
lost misplaced|stolen nicked|broken damaged faulty|declined rejected refused|reason cause
method way approach process procedure step|difficult hard tough|easy simple|smart intelligent clever|earn make
grow increase|improve better enhance|effective efficient|top best|meaning definition|author writer wrote
build construct|close shut|order request|book reserve|booking reservation|register enrol enroll sign|pay settle
refund reimburse|contact reach call|fill complete|arrive come|visit go|rent lease hire|learn study|teach train
speak talk|think believe consider|company business firm|employee worker staff|boss manager|student pupil|city town
area region|country nation|famous popular|beautiful pretty|strange weird|dangerous risky|sad unhappy
difference distinction|benefit advantage pro|drawback disadvantage con|kind type sort|example instance
purpose goal aim|effect impact|food meal|drink beverage|medicine drug medication|illness disease|symptom sign
cure treat treatment remedy|lose shed|weight pound|happen occur|explain describe|join enter|leave exit|earth world
internet web|website site|account profile|password passcode|message text|bill invoice|deadline date
document paperwork form|entitle eligible|bank lender|luggage baggage|holiday vacation|flat apartment|lift elevator
petrol gas|autumn fall|queue line|rubbish trash garbage waste|film picture|toilet bathroom
hate dislike|rarely seldom|extra additional|appear seem look|reduce decrease lower lessen cut|salary pay wage income
pain ache hurt|exam test examination|subject topic|rich wealthy|own possess|hide conceal|understand comprehend grasp
notice spot|eat consume|exchange swap|convert turn transform|cope deal handle|produce make generate|predict forecast
accident crash|sofa couch|belly stomach abdomen|road street|marijuana cannabis weed|shoe footwear|thief robber burglar
murder kill|gift present|hobby pastime|career work|college university|speed pace|quarrel argue|argument dispute
scared afraid frightened|tired exhausted|lucky fortunate|funny amusing|boring dull|brave courageous|calm relaxed
strong powerful|tasty delicious|clean wash|protect guard|scream shout yell|search seek look|select choose|gather collect
destroy ruin|forbid prohibit ban|harm damage|invent create|discover find|occur happen take|reply respond|aid help
wealth riches|disaster catastrophe|opinion view|behaviour conduct|citizen national|advertise promote|plane aircraft
seller vendor|customer client|income earnings|shut close|sum amount|pupil student|feature characteristic trait
"""

ALIKE: dict[str, tuple[str, ...]] = {}
for _group in _GROUPS.replace("\n", "|").strip("|").split("|"):
    for _word in _group.split():
        ALIKE[_word] = (*ALIKE.get(_word, ()), *(other for other in _group.split() if other != _word))


def are_alike(word: str, other: str) -> bool:
    """Tell whether two words may stand for one another."""
    return other in ALIKE.get(word, ())
