"""What the gaps in our phrasings are filled with."""

SLOTS = {
    "country": "France|Germany|Spain|Portugal|Italy|Austria|Australia|Poland|Norway|Sweden|Denmark|Finland|Iceland|Ireland|"
    "Greece|Turkey|Egypt|Morocco|Kenya|Nigeria|Ghana|India|Pakistan|Nepal|China|Japan|South Korea|North Korea|Vietnam|Thailand|"
    "Malaysia|Indonesia|Brazil|Argentina|Chile|Peru|Colombia|Mexico|Canada|New Zealand|Russia|Ukraine|Iran|Iraq|Israel|Cuba",
    "city": "London|Paris|Berlin|Madrid|Rome|Vienna|Lisbon|Dublin|Edinburgh|Manchester|Leeds|Bristol|Moscow|Warsaw|Prague|"
    "Athens|Istanbul|Cairo|Lagos|Nairobi|Dubai|Delhi|Mumbai|Bangalore|Chennai|Kolkata|Pune|Jaipur|Beijing|Shanghai|Tokyo|Kyoto|"
    "Seoul|Bangkok|Hanoi|Sydney|Melbourne|Auckland|Toronto|Vancouver|Boston|Chicago|Houston|Dallas|Seattle|Denver|Miami",
    "product": "Gmail|Outlook|Facebook|Instagram|WhatsApp|Twitter|Snapchat|Netflix|Spotify|Amazon|PayPal|Dropbox|Slack|Zoom|"
    "LinkedIn|Quora|Reddit|YouTube|Skype|Telegram|Steam|Uber|GitHub|Salesforce|HubSpot|Jira|Trello|Notion|Discord|TikTok",
    "language": "French|German|Spanish|Portuguese|Italian|Dutch|Polish|Russian|Turkish|Greek|Swedish|Arabic|Hebrew|Hindi|Urdu|"
    "Tamil|Chinese|Mandarin|Japanese|Korean|Thai|Vietnamese|Latin|Swahili|Finnish|Norwegian",
    "word": "good morning|thank you|goodbye|apple|house|friend|water|love|brother|bread|school|happy birthday|I miss you|"
    "where is the station|how are you|the bill please|dog|window|excuse me|good luck|see you later|red wine|snow",
    "thing": "machine learning|deep learning|blockchain|bitcoin|inflation|photosynthesis|mitosis|meiosis|gravity|democracy|"
    "socialism|capitalism|yoga|pilates|marketing|branding|a router|a modem|a laptop|a tablet|a hard drive|an SSD|a microscope|"
    "a telescope|the internet|the telephone|nuclear energy|solar energy|wind power|a mortgage|a pension|life insurance|"
    "car insurance|a credit card|a debit card|a 3D printer|a drone|an electric car|a virus|a bacterium|fiction|weather|climate|"
    "affiliate marketing|online advertising|artificial intelligence|data mining|cloud computing|a piano|a guitar|a violin|"
    "a mechanical keyboard|a stock|a bond|a mutual fund|a startup|a DSLR camera|a smartwatch|steel|aluminium|paper|glass|plastic",
    "habit": "smoking|drinking|gambling|biting my nails|procrastinating|overthinking|running|swimming|reading|writing|painting|"
    "cycling|dancing|singing|playing video games|watching TV|eating sugar|fasting|meditating|snoring|public speaking|gossiping",
    "ailment": "acne|dandruff|a headache|migraine|diabetes|asthma|flu|a cold|measles|malaria|depression|anxiety|insomnia|back pain|"
    "heartburn|high blood pressure|low blood pressure|a sore throat|hay fever|eczema|kidney stones|anemia|chickenpox|a cough",
    "medicine": "ibuprofen|paracetamol|aspirin|amoxicillin|metformin|insulin|cetirizine|omeprazole|warfarin|prednisone|melatonin|"
    "penicillin|codeine|sertraline|statins|vitamin D|vitamin C|magnesium",
    "n": "5|10|20|25|50|100|200|250|400|500|1000",
    "job": "doctor|nurse|lawyer|pilot|teacher|data scientist|web developer|graphic designer|police officer|firefighter|chef|"
    "dentist|journalist|accountant|civil engineer|mechanical engineer|photographer|translator|plumber|electrician|actor",
    "food": "rice|brown rice|chicken|salmon|tuna|eggs|spinach|broccoli|potatoes|sweet potatoes|carrots|beans|lentils|pasta|bacon|"
    "cheese|yogurt|bananas|apples|grapes|avocado|mushrooms|honey|peanut butter|dark chocolate|bread|shrimp|oats",
    "format": "PDF|Word|JPG|PNG|MP3|WAV|MP4|AVI|CSV|Excel|JSON|XML|EPUB|SVG|GIF|PSD|HTML|ZIP",
    "code": "Python|Java|JavaScript|C|C++|C#|Ruby|PHP|Go|Rust|Swift|Kotlin|Perl|R|Scala|MATLAB",
    "place": "museum|library|swimming pool|gym|clinic|pharmacy|zoo|castle|restaurant|post office|bank|town hall|aquarium|"
    "botanical garden|ice rink|theatre|cinema|shopping centre|airport lounge|car wash|recycling centre",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Christmas Day|New Year's Day|Easter Monday",
    "plan": "subscription|membership|phone contract|car insurance policy|home insurance policy|gym membership|broadband contract|"
    "travel insurance|season ticket|parking permit|magazine subscription|electricity contract|premium plan|student railcard",
}
