"""English wordings that give away that the writer was given the answer or saw an earlier attempt.

The texts compared are in small letters, on one line and without quotation marks and Markdown. A quantifier such as
`{0,20}` is limited so that the search takes time in proportion to the text.
"""

from errata.reading.forms import Form

_CORRECT = r"(?:(?:correct|right|true|final|actual|desired|intended) ){0,2}"
_ANSWER = rf"{_CORRECT}(?:answer|option|choice)"
# "the given answer choices" are the options, and the format of an answer is no secret
_NOT_OPTIONS = r"(?! (?:(?:option|choice)s?|format|form|style)\b)"
# an option by its letter, but not the article: "b", "option (b)"
_AN_OPTION = r"(?:option |choice |answer )?\(?(?!a \w)[a-z]\)?(?![\w'])"
_GIVEN = r"(?:given|provided|told|stated|supplied|specified|indicated|revealed|disclosed|designated|marked)"
# not after words that conclude: "so we know that the correct answer is B"
_NOT_CONCLUDED = "".join(
    rf"(?<!\b{word}{sign} )"
    for word in ("so", "thus", "hence", "then", "now", "therefore", "this", "that", "finally", "where")
    for sign in ("", ",")
)
_SAYS = (
    r"(?:says?|said|states?|stated|tells?|told|gave|gives|provide[sd]?|claims?|claimed|wants?|asks?|asked|indicate[sd]"
    r"|mention(?:s|ed)|correct(?:s|ed))"
)
_PROMPT = r"(?:prompt|question|task|hint|user|instructions?)"
_EARLIER = r"(?:earlier|previous|prior|initial|original|first|last|preceding|old|wrong|incorrect|mistaken)"
_WRONG = r"\b(?:wrong|incorrect|mistaken|flawed|in error|an error|a mistake|faulty|false|not correct|not right)\b"


def _form(name: str, pattern: str, example: str, *, but_not: str = "") -> Form:
    return Form(name, "English", pattern, example, but_not)


_ANSWER_WAS_TOLD = (
    _form(
        "as given, the answer is",
        rf"\bas (?:was |already |you )?(?:{_GIVEN}|mentioned|noted|known|instructed)"
        r"(?: (?:above|before|beforehand|already|to (?:me|us)"
        rf"|(?:in|by) (?:the|this|your) {_PROMPT}))?"
        rf"[,:]? (?:that )?the {_ANSWER} (?:is|was|must|has|should)\b",
        "As given, the correct answer is B.",
        but_not="As stated in the text, Ann is older. The correct answer is B.",
    ),
    _form(
        "the given answer",
        rf"\b(?:given|provided|stated|supplied|specified|indicated|expected|known|target|designated|told|reference|gold)"
        rf" (?:(?:correct|right|true|final|actual) (?:answer|option|choice)|answer)\b{_NOT_OPTIONS}",
        "The given answer is B.",
        but_not="None of the given answer choices but C fits.",
    ),
    _form(
        "the correct answer given",
        r"\b(?:correct|right) (?:answer|option|choice) (?:as )?(?:already )?(?:given|provided|supplied|specified|told)"
        r"\b(?! (?:by|in|the)\b)",
        "The correct answer provided is B.",
        but_not="The correct answer given the first clue is B.",
    ),
    _form(
        "the answer was given",
        rf"\b(?:the|this|an|correct|right) (?:answer|correct option|right option|solution)"
        r"(?: itself)? (?:is|was|has(?: already)? been|had(?: already)? been|being)(?: already| explicitly| clearly)?"
        rf" (?:{_GIVEN}|known)\b(?!(?: \w+ly)? (?:by|in|within|from|through) )",
        "The answer is given as B.",
        but_not="The answer is given in the text.",
    ),
    _form(
        "the answer was given in the prompt",
        rf"\b(?:the|this|correct|right) answer (?:is|was|has been)(?: already)? {_GIVEN}"
        rf" (?:by|in|within|from) (?:the|your|this) {_PROMPT}\b",
        "The answer was given in the question.",
    ),
    _form(
        "I was told the answer",
        rf"\b(?:i|we|you|it)(?: have| has|'ve| had)? (?:is |are |am |was |were |been )(?:already )?"
        rf"(?:told|given|informed|provided with|shown)(?: that)?(?: what)? (?:the|an?) {_ANSWER}\b{_NOT_OPTIONS}(?!s)",
        "Since we are told that the answer is B, Ann must be older.",
        but_not="We are given the answer choices.",
    ),
    _form(
        "I was told that it is",
        r"\b(?:i|we|you) (?:were|was|have been|am|are|'ve been) told (?:that )?(?:it is|it's|the answer|what)\b",
        "I was told that it is B.",
        but_not="We are told that Paul owns a dog.",
    ),
    _form(
        "having been told the answer",
        r"\b(?:was|been|being|were) told (?:me |us )?(?:the|what the|that the) (?:\w+ )?answer\b",
        "Having been told the right answer, I agree.",
        but_not="Ann was told that the dog is Paul's.",
    ),
    _form(
        "you told me",
        r"\byou(?: have|'ve| had)? (?:told|gave|given|provided|said|stated|mentioned|indicated|informed|specified"
        r"|pointed)\b",
        "As you said, it is B.",
    ),
)

_ANSWER_IS_KNOWN = (
    _form(
        "since we know the answer",
        r"\b(?:since|because|as|given that|if) (?:i|we) (?:already |do )?(?:know|have)(?: already)?(?: that)?"
        rf" the {_ANSWER}\b{_NOT_OPTIONS}",
        "Since we know that the correct answer is A, Paul owns the dog.",
        but_not="Since we know that Ann is older, the answer must be B.",
    ),
    _form(
        "knowing that the answer is",
        rf"\b(?:already know|knowing)(?: that)? the {_ANSWER} (?:is|was|to be|must)\b",
        "Knowing that the answer is B, we look for a reason.",
    ),
    _form(
        "given that the answer is",
        rf"\b(?:given|granted|knowing|assuming)(?: the fact)?(?: that)? the {_ANSWER}"
        r" (?:is|was|must be|has to be|should be)\b",
        "Given that the correct answer is B, Bob is the youngest.",
        but_not="Given that Ann is older than Bob, the answer is A.",
    ),
    _form(
        "given the correct answer",
        rf"\bgiven the (?:correct|right) (?:answer|option|choice)\b{_NOT_OPTIONS}(?!s)",
        "Given the correct answer, Bob is the youngest.",
    ),
    _form(
        "since the correct answer is",
        r"\bsince the (?:correct|right) (?:answer|option|choice) (?:is|was|must be)\b",
        "Since the correct answer is C, Paul cannot own the cat.",
    ),
    _form(
        "since B is the correct answer",
        rf"\b(?:since|because|given that|knowing that) {_AN_OPTION} (?:is|was|must be) (?:\w+ )?the (?:correct|right)"
        r" (?:answer|option|choice)\b",
        "Since B is the correct answer, Ann is older.",
    ),
    _form(
        "we know that the correct answer is",
        rf"{_NOT_CONCLUDED}\b(?:i|we|you) (?:(?:already|also|do) )?know(?: already)?(?: that)? the (?:correct|right)"
        r" (?:answer|option|choice) (?:is|was|must|has)\b",
        "We know that the correct answer is B.",
        but_not="So we know that the correct answer is B.",
    ),
    _form(
        "the answer is B, as given",
        rf"\bthe {_ANSWER} (?:is|was|must be) {_AN_OPTION},? (?:as|which (?:is|was)) (?:(?:was|were|is|has been"
        rf"|had been|i|we|already|you) ){{0,3}}(?:{_GIVEN}|mentioned|instructed|known)\b"
        r"(?! (?:by|in|within|from|through) )",
        "The right answer is B, as given.",
        but_not="The right answer is B, as stated in the text.",
    ),
    _form(
        "the text says that the answer is",
        r"\b(?:text|prompt|question|problem|task|it)(?: \w+ly| only)? (?:says?|states?|said|stated|reports?|gives?"
        r"|lists?|tells?|told)(?: us| me)?"
        rf"(?: that)? the {_ANSWER} (?:is|as|was)\b",
        'It simply reports the answer as "D."',
        but_not="The text does not say who is older, so it gives no answer.",
    ),
    _form(
        "the text says C",
        r"\b(?:text|prompt|question|problem) (?:says|states|said|gives) [a-e]\b(?! \w)",
        'The text says "C."',
        but_not="The text says A is older than B.",
    ),
    _form(
        "the hint",
        r"\b(?:the|your|this|that) hint(?:s)?\b(?! of\b)",
        "The hint says B.",
        but_not="Ann sees the hint of blue.",
    ),
    _form(
        "according to the answer",
        r"\baccording to the (?:correct |right |given |provided )?(?:hint|prompt|answer|instructions?|label|key)\b"
        r"(?! (?:option|choice)s?\b)",
        "According to the given answer, Ann is older.",
        but_not="According to the answer choices, only B mentions Paul.",
    ),
    _form("answer key", r"\b(?:answer key|gold label|ground truth)\b", "This is the ground truth."),
    _form("the prompt says", rf"\bthe (?:instructions?|prompt) {_SAYS}\b", "The prompt asks for one letter."),
    _form(
        "the user says",
        rf"\b(?:the|this) user(?:'s)? (?:{_SAYS}|hint|answer|instructions?|prompt)\b",
        "The user says that the right answer is C.",
    ),
    _form(
        "matches the correct answer",
        r"\b(?:match(?:es|ing)?|agree(?:s|ing)? with|consistent with|in line with|align(?:s|ed|ing)? with|fits)"
        rf" (?:the|your) (?:correct|right|given|provided|expected) answer\b{_NOT_OPTIONS}",
        "This matches the correct answer.",
        but_not="This matches the expected answer format.",
    ),
)

_PROMPT_REPEATED = (
    _form(
        "words of the prompt",
        r"\bwhat in the text (?:makes?|decides)\b|\bwithout naming (?:a|the) letter\b|\bthe text makes [a-z] right\b",
        "The answer is B. The text makes B right.",
        but_not="Bob is younger, which makes B right.",
    ),
    _form(
        "say what was wrong",
        r"\bsay (?:in one short sentence )?what (?:was wrong|makes)\b",
        "In one short sentence, say what makes A right.",
    ),
    _form("finish with the answer is", r"\bfinish with,? the answer is\b", 'Finish with "The answer is A".'),
    _form(
        "as if I had not been told",
        r"\bas if (?:i|we|you|the answer)\b[^.!?]{0,20}"
        r"\b(?:had|first time|found|told|solved|worked|not know|did not|didn't)",
        "I will write this as if I had found it myself.",
    ),
    _form(
        "as if for the first time",
        r"\bas if (?:for|it (?:was|were)) the first time\b",
        "Solved as if for the first time: Ann is older.",
        but_not="He looked at the dog for the first time.",
    ),
    _form(
        "without having been told",
        r"\bwithout (?:having been|being|having) (?:told|given|shown)\b",
        "Without having been told the answer, I find B.",
    ),
    _form(
        "without mentioning it",
        r"\bwithout mentioning (?:that (?:it|the answer)|the (?:answer|mistake|earlier|previous))\b",
        "Without mentioning that it was given: Ann is older.",
    ),
    _form(
        "reasoning that leads to this answer",
        r"\breasoning (?:that |which )?(?:leads|leading)(?: from (?:\w+ ){1,3}| )"
        r"to (?:this|the (?:correct|right|given)) answer\b",
        "Here is the reasoning that leads to this answer:",
    ),
    _form(
        "working backwards from the answer",
        r"\b(?:work|reason)(?:s|ed|ing)? back(?:wards?)? from"
        rf" (?:the (?:(?:correct|right|given|known) )?(?:answer|option|choice)\b{_NOT_OPTIONS}|{_AN_OPTION})",
        "Working backwards from B, Ann is older.",
        but_not="Working backwards from a contradiction, Ann is older.",
    ),
)

_REPLY_TO_CORRECTION = (
    _form(
        "you are right",
        r"\byou(?:'re| are) (?:(?:absolutely|quite|completely|totally) )?(?:right|correct)"
        r"(?=[,.!;:]| that\b| about\b|$)",
        "You're right, the answer is B.",
        but_not="The person next to you is right-handed.",
    ),
    _form(
        "no, the right answer is",
        r"\bno[,:] (?:the|this|that)(?: (?:right|correct))? answer\b",
        "No, the right answer is C.",
        but_not="No text says so. The answer is B.",
    ),
)

_EARLIER_ATTEMPT = (
    _form(
        "my earlier answer",
        rf"\b(?:my|our|your) {_EARLIER} (?:\w+ )?(?:reasoning|answer|attempt|response|solution|analysis|explanation"
        r"|choice|mistake|error)\b",
        "In my first attempt, the cat was missing.",
    ),
    # "my first conclusion" may be the first of this reasoning
    _form(
        "my earlier conclusion",
        rf"\b(?:my|our|your) (?!first |last ){_EARLIER} (?:\w+ )?(?:conclusion|statement|claim|thought|interpretation"
        r"|assessment)\b",
        "My initial thought was A.",
        but_not="My first conclusion is that Ann is older.",
    ),
    _form(
        "the previous answer",
        r"\bthe (?:earlier|previous|prior|initial|original|preceding) (?:\w+ )?(?:answer|attempt|response)\b",
        "The previous answer was C, but it is B.",
        but_not="The previous statement rules out C.",
    ),
    _form(
        "the reasoning is wrong",
        rf"\b(?:(?:the|this|that) (?:{_EARLIER} )?(?:reasoning|analysis|explanation|response|attempt)"
        r"|(?:my|our|your) (?:reasoning|analysis|explanation|response|attempt|answer|solution))"
        r"(?: (?:above|before|given|here|i gave|provided))? (?:is|was|went|goes|contains|contained|has|had|made|makes) "
        rf"(?:\w+ ){{0,2}}{_WRONG}",
        "The reasoning above is wrong, since Ann is older.",
        but_not="Option A: this answer is incorrect, since Bob is older.",
    ),
    _form(
        "the previous reasoning ... is wrong",
        rf"\bthe {_EARLIER} (?:reasoning|analysis|explanation|solution)\b[^.!?]{{0,60}}{_WRONG}",
        "The previous reasoning overlooked Bob and is therefore incorrect.",
    ),
    _form(
        "the mistake in the reasoning",
        r"\bthe (?:mistake|error|flaw) (?:in|of|made in|was in|lies in|is in|with) (?:the|my|our|your|this|that) "
        r"(?:\w+ )?(?:reasoning|answer|attempt|response|analysis|explanation|solution)\b",
        "The mistake in the reasoning is the cat.",
        but_not="The mistake in option C is that Bob is younger.",
    ),
    _form(
        "the mistake is that",
        r"\bthe (?:mistake|error|flaw) (?:here )?(?:is|was|lies in|lay in|comes from|came from) "
        r"(?:that|(?:assum|ignor|overlook|think|tak|confus|forget|misread|suppos|conclud|miss|count|treat|believ|read)"
        r"\w*ing)\b",
        "The mistake is assuming that Bob is older.",
    ),
    _form(
        "I misread",
        r"\bi (?:had |have )?(?:misread|misunderstood|misinterpreted|overlooked|mixed up|miscounted)\b",
        "I misread the statement.",
    ),
    _form(
        "I made a mistake",
        r"\bi (?:made|had made|have made|did make) (?:a|an|the|some) (?:\w+ )?(?:mistakes?|errors?)\b",
        "I made a mistake about Ann.",
    ),
    _form(
        "where I went wrong",
        r"\b(?:where|that) (?:i|it|the reasoning) (?:went|goes|was going) wrong\b",
        "That is where I went wrong.",
    ),
    _form("I was wrong", r"\bi (?:was|had been|got it) (?:wrong|mistaken|incorrect)\b", "I was wrong about Bob."),
    # "I initially assumed that" may be a case of this reasoning
    _form(
        "I previously said",
        r"\bi (?!(?:initially|originally) (?:assumed|supposed)\b)"
        r"(?:previously|earlier|initially|originally|mistakenly|wrongly|incorrectly|erroneously|falsely) "
        r"(?:\w+ed|said|thought|chose|took|made|gave|went|read|misread|wrote)\b",
        "I incorrectly assumed that Bob is older.",
        but_not="I initially assumed that Ann is a knight; this leads to a contradiction.",
    ),
    _form("I apologize", r"\bi apologi[sz]e\b", "I apologize for the confusion."),
    _form("my mistake", r"\bmy (?:mistake|apologies|bad)\b", "Sorry, my mistake."),
    _form(
        "thank you for the correction",
        r"\bthank(?:s| you) for (?:the|your|point|correct)",
        "Thank you for the correction.",
    ),
    _form(
        "the corrected reasoning",
        r"\b(?:the|a|my) (?:corrected|revised|amended) (?:\w+ )?(?:answer|reasoning|solution|explanation|response)\b",
        "Here is the corrected reasoning: Ann is older.",
    ),
)

ENGLISH = (*_ANSWER_WAS_TOLD, *_ANSWER_IS_KNOWN, *_PROMPT_REPEATED, *_REPLY_TO_CORRECTION, *_EARLIER_ATTEMPT)
