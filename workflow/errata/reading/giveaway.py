"""Whether a completion gives away that its writer was told the answer, or saw an earlier wrong attempt.

A model that is trained on such a text learns to speak of a hint that it will not be given.
"""

import re
import unicodedata

# Marks that may stand around words, and what has no width.
_MARKS = str.maketrans("", "", '*_`"“”#「」『』')
_QUOTES = str.maketrans("‘’", "''")

_RIGHT = r"(?:(?:correct|right|true|final|actual|desired|intended) ){0,2}"
_ANSWER = rf"{_RIGHT}(?:answer|option|choice)"
# "the given answer choices" are the options, and the form of an answer is no secret
_ONE = r"(?! (?:(?:option|choice)s?|format|form|style)\b)"
# an option by its letter, but not the article
_AN_OPTION = r"(?:option |choice |answer )?\(?(?!a \w)[a-z]\)?(?![\w'])"
_TOLD = r"(?:given|provided|told|stated|supplied|specified|indicated|revealed|disclosed|designated|marked)"
# "so we know that the correct answer is B" concludes
_CONCLUDED = "".join(
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

_ENGLISH = (
    # "as given, the correct answer is B"
    rf"\bas (?:was |already |you )?(?:{_TOLD}|mentioned|noted|known|instructed)"
    r"(?: (?:above|before|beforehand|already|to (?:me|us)"
    rf"|(?:in|by) (?:the|this|your) {_PROMPT}))?"
    rf"[,:]? (?:that )?the {_ANSWER} (?:is|was|must|has|should)\b",
    # "the given answer", "the correct answer given": but not "the given answer choices"
    rf"\b(?:given|provided|stated|supplied|specified|indicated|expected|known|target|designated|told|reference|gold)"
    rf" (?:(?:correct|right|true|final|actual) (?:answer|option|choice)|answer)\b{_ONE}",
    r"\b(?:correct|right) (?:answer|option|choice) (?:as )?(?:already )?(?:given|provided|supplied|specified|told)\b"
    r"(?! (?:by|in|the)\b)",
    # "the answer was provided": but not "the answer is given in the text"
    rf"\b(?:the|this|an|correct|right) (?:answer|correct option|right option|solution)"
    r"(?: itself)? (?:is|was|has(?: already)? been|had(?: already)? been|being)(?: already| explicitly| clearly)?"
    rf" (?:{_TOLD}|known)\b(?!(?: \w+ly)? (?:by|in|within|from|through) )",
    rf"\b(?:the|this|correct|right) answer (?:is|was|has been)(?: already)? {_TOLD}"
    rf" (?:by|in|within|from) (?:the|your|this) {_PROMPT}\b",
    # "since we are told that the answer is B", "I was given the correct answer"
    rf"\b(?:i|we|you|it)(?: have| has|'ve| had)? (?:is |are |am |was |were |been )(?:already )?"
    rf"(?:told|given|informed|provided with|shown)(?: that)?(?: what)? (?:the|an?) {_ANSWER}\b{_ONE}(?!s)",
    r"\b(?:i|we|you) (?:were|was|have been|am|are|'ve been) told (?:that )?(?:it is|it's|the answer|what)\b",
    r"\b(?:was|been|being|were) told (?:me |us )?(?:the|what the|that the) (?:\w+ )?answer\b",
    r"\byou(?: have|'ve| had)? (?:told|gave|given|provided|said|stated|mentioned|indicated|informed|specified"
    r"|pointed)\b",
    # "since we know that the answer is B", "given that the correct answer is B", "knowing that the answer is B"
    r"\b(?:since|because|as|given that|if) (?:i|we) (?:already |do )?(?:know|have)(?: already)?(?: that)?"
    rf" the {_ANSWER}\b{_ONE}",
    rf"\b(?:already know|knowing)(?: that)? the {_ANSWER} (?:is|was|to be|must)\b",
    rf"\b(?:given|granted|knowing|assuming)(?: the fact)?(?: that)? the {_ANSWER}"
    r" (?:is|was|must be|has to be|should be)\b",
    rf"\bgiven the (?:correct|right) (?:answer|option|choice)\b{_ONE}(?!s)",
    r"\bsince the (?:correct|right) (?:answer|option|choice) (?:is|was|must be)\b",
    # "since B is the correct answer", "we know that the correct answer is B"
    rf"\b(?:since|because|given that|knowing that) {_AN_OPTION} (?:is|was|must be) (?:\w+ )?the (?:correct|right)"
    r" (?:answer|option|choice)\b",
    rf"{_CONCLUDED}\b(?:i|we|you) (?:(?:already|also|do) )?know(?: already)?(?: that)? the (?:correct|right)"
    r" (?:answer|option|choice) (?:is|was|must|has)\b",
    # "the right answer is B, as given": but not "as given in the text"
    rf"\bthe {_ANSWER} (?:is|was|must be) {_AN_OPTION},? (?:as|which (?:is|was)) (?:(?:was|were|is|has been|had been"
    rf"|i|we|already|you) ){{0,3}}(?:{_TOLD}|mentioned|instructed|known)\b(?! (?:by|in|within|from|through) )",
    # "the text only says the right answer is B", "it reports the answer as B", "the text says C."
    r"\b(?:text|prompt|question|problem|task|it)(?: \w+ly| only)? (?:says?|states?|said|stated|reports?|gives?|lists?"
    r"|tells?|told)(?: us| me)?"
    rf"(?: that)? the {_ANSWER} (?:is|as|was)\b",
    r"\b(?:text|prompt|question|problem) (?:says|states|said|gives) [a-e]\b(?! \w)",
    # hints, keys, labels, users
    r"\b(?:the|your|this|that) hint(?:s)?\b(?! of\b)",
    r"\baccording to the (?:correct |right |given |provided )?(?:hint|prompt|answer|instructions?|label|key)\b"
    r"(?! (?:option|choice)s?\b)",
    r"\b(?:answer key|gold label|ground truth)\b",
    rf"\bthe (?:instructions?|prompt) {_SAYS}\b",
    rf"\b(?:the|this) user(?:'s)? (?:{_SAYS}|hint|answer|instructions?|prompt)\b",
    r"\b(?:match(?:es|ing)?|agree(?:s|ing)? with|consistent with|in line with|align(?:s|ed|ing)? with|fits)"
    rf" (?:the|your) (?:correct|right|given|provided|expected) answer\b{_ONE}",
    # the prompt's own words
    r"\bwhat in the text (?:makes?|decides)\b|\bwithout naming (?:a|the) letter\b|\bthe text makes [a-z] right\b",
    r"\bsay (?:in one short sentence )?what (?:was wrong|makes)\b",
    r"\bfinish with,? the answer is\b",
    r"\bas if (?:i|we|you|the answer)\b[^.!?]{0,20}"
    r"\b(?:had|first time|found|told|solved|worked|not know|did not|didn't)",
    r"\bas if (?:for|it (?:was|were)) the first time\b",
    r"\bwithout (?:having been|being|having) (?:told|given|shown)\b",
    r"\bwithout mentioning (?:that (?:it|the answer)|the (?:answer|mistake|earlier|previous))\b",
    r"\breasoning (?:that |which )?(?:leads|leading)(?: from (?:\w+ ){1,3}| )"
    r"to (?:this|the (?:correct|right|given)) answer\b",
    # from the end to the beginning
    r"\b(?:work|reason)(?:s|ed|ing)? back(?:wards?)? from"
    rf" (?:the (?:(?:correct|right|given|known) )?(?:answer|option|choice)\b{_ONE}|{_AN_OPTION})",
    # what answers one who corrects
    r"\byou(?:'re| are) (?:(?:absolutely|quite|completely|totally) )?(?:right|correct)(?=[,.!;:]| that\b| about\b|$)",
    # an earlier attempt; "No, the right answer is C" answers one
    r"\bno[,:] (?:the|this|that)(?: (?:right|correct))? answer\b",
    rf"\b(?:my|our|your) {_EARLIER} (?:\w+ )?(?:reasoning|answer|attempt|response|solution|analysis|explanation"
    r"|choice|mistake|error)\b",
    # the first conclusion may be the first of this reasoning
    rf"\b(?:my|our|your) (?!first |last ){_EARLIER} (?:\w+ )?(?:conclusion|statement|claim|thought|interpretation"
    r"|assessment)\b",
    r"\bthe (?:earlier|previous|prior|initial|original|preceding) (?:\w+ )?(?:answer|attempt|response)\b",
    rf"\b(?:(?:the|this|that) (?:{_EARLIER} )?(?:reasoning|analysis|explanation|response|attempt)"
    r"|(?:my|our|your) (?:reasoning|analysis|explanation|response|attempt|answer|solution))"
    r"(?: (?:above|before|given|here|i gave|provided))? (?:is|was|went|goes|contains|contained|has|had|made|makes) "
    rf"(?:\w+ ){{0,2}}{_WRONG}",
    rf"\bthe {_EARLIER} (?:reasoning|analysis|explanation|solution)\b[^.!?]{{0,60}}{_WRONG}",
    r"\bthe (?:mistake|error|flaw) (?:in|of|made in|was in|lies in|is in|with) (?:the|my|our|your|this|that) "
    r"(?:\w+ )?(?:reasoning|answer|attempt|response|analysis|explanation|solution)\b",
    r"\bthe (?:mistake|error|flaw) (?:here )?(?:is|was|lies in|lay in|comes from|came from) "
    r"(?:that|(?:assum|ignor|overlook|think|tak|confus|forget|misread|suppos|conclud|miss|count|treat|believ|read)\w*ing)\b",
    r"\bi (?:had |have )?(?:misread|misunderstood|misinterpreted|overlooked|mixed up|miscounted)\b",
    r"\bi (?:made|had made|have made|did make) (?:a|an|the|some) (?:\w+ )?(?:mistakes?|errors?)\b",
    r"\b(?:where|that) (?:i|it|the reasoning) (?:went|goes|was going) wrong\b",
    r"\bi (?:was|had been|got it) (?:wrong|mistaken|incorrect)\b",
    # "I initially assumed that" may be a case of this reasoning
    r"\bi (?!(?:initially|originally) (?:assumed|supposed)\b)"
    r"(?:previously|earlier|initially|originally|mistakenly|wrongly|incorrectly|erroneously|falsely) "
    r"(?:\w+ed|said|thought|chose|took|made|gave|went|read|misread|wrote)\b",
    r"\bi apologi[sz]e\b|\bmy (?:mistake|apologies|bad)\b|\bthank(?:s| you) for (?:the|your|point|correct)",
    r"\b(?:the|a|my) (?:corrected|revised|amended) (?:\w+ )?(?:answer|reasoning|solution|explanation|response)\b",
)

_ZH_ANSWER = r"(?:正确|标准|最终)?的?答案"
# not the options
_ZH_ONE = r"(?!选项)"
_ZH_GIVEN = r"(?:给定|给出|所给|提供|告知|告诉|指定|已知|已给)"
_ZH_EARLIER = r"(?:之前|先前|此前|原先|刚才|上次|上一次|第一次|最初|原来)"
# what is derived from an analysis is no fault of it: 由之前的分析, 根据以上分析
_ZH_NOT_FROM = r"(?<![由据从照合于])"
# nor is what it says of an option or of a statement: 之前的分析表明选项A错误, 以上分析可知A错误
_ZH_OF_IT = (
    r"(?:(?!选项|表明|说明|证明|显示|可知|可见|看出|可以|得[出到知]|推[出知断]|排除|说法|假设|命题|条件|陈述|第[一二三四五六\d]|[a-z])"
    r"[^。!?;\n])"
)
_ZH_WRONG = r"(?:有误|错|不对|不正确|不准确|有问题|疏漏|失误|不成立|漏洞)"

_CHINESE = (
    # the prompt's own words
    r"什么内容使|哪些内容能决定|不要提选项字母|指出错在哪里|逐步而简要",
    # 已知正确答案是B, 题目给出的答案, 给定的答案: but not 由此给出答案
    rf"已知的?(?:{_ZH_ANSWER}{_ZH_ONE}|正确选项)",
    rf"(?:给定|所给|已给|告知|指定)的?{_ZH_ANSWER}{_ZH_ONE}",
    rf"(?:给出|提供|告诉)的{_ZH_ANSWER}{_ZH_ONE}",
    rf"(?:题目|题干|提示|用户|题中)(?:中|里)?(?:已经?|也|又)?(?:明确)?{_ZH_GIVEN}(?:了|我们?|过|说){{0,2}}(?:正确|标准|最终)?的?(?:答案{_ZH_ONE}|正确选项)",
    r"(?:正确|标准)?(?:答案|正确选项)(?:已经?|是|被|已被){1,2}(?:给出|给定|告知|告诉|提供|知道|已知|知晓|事先)",
    r"(?:正确|标准)?答案已知",
    # 根据提示, 根据给出的答案: but not 根据提示1, 根据题目的提示, 根据答案选项
    rf"(?:根据|按照|依据|依照|参考|参照|结合|对照)(?:用户|您|你|上面|上述|以上)?的?{_ZH_GIVEN}?的?(?:提示(?!\s*[\d一二三四五六七八九十(:])|{_ZH_ANSWER}{_ZH_ONE})",
    # 因为我们已经知道答案, 既然答案是B, 由于正确答案是B
    rf"(?:因为|由于|既然)?我们?(?:已经|被|已)(?:知道?|得知|告知)了?{_ZH_ANSWER}{_ZH_ONE}",
    rf"(?:因为|由于|既然)(?:已经|已|我们?)?(?:知道|得知|被告知|知)了?{_ZH_ANSWER}{_ZH_ONE}",
    # 我们知道正确答案是B: but not 由此我们知道正确答案是B
    r"(?<!由此)(?<!因此)(?<!所以)(?<!于是)(?<!从而)(?<!这样)(?<!现在)(?<!因此,)(?<!所以,)(?<!于是,)(?<!这样,)(?<!由此,)"
    r"我们(?:已经?|都|早已)?知道了?,?(?:正确|标准)的?(?:答案|选项)(?:是|为)",
    r"(?:答案|正确选项) ?[a-z]? ?(?:已经?|是|早已|被){1,2}(?:事先|提前|预先|被?告诉|被?告知)",
    r"(?:题目|题干|题中|问题|文中|原文)(?:中|里)?(?:只|已经?|也|明确)?(?:说|写|告诉我?们?)(?:了|过|明)?,?(?:正确|标准)?的?答案(?:是|为)",
    # the prompt's own words, and reasoning from the end to the beginning
    r"(?:推出|得出|得到|支持)(?:这一?个?|该|此|正确)的?(?:正确)?(?:答案|选项)的?(?:分析|推理|推导|理由|思路)",
    r"为了?(?:能够?)?(?:得出|得到|推出|达到|证明|支持)正确的?(?:答案|选项)(?:是|为)? ?[a-z](?![a-z])",
    r"(?:从|由|根据)(?:正确|给出|这一?个?|该)?的?(?:答案|正确选项) ?[a-z]? ?(?:出发)?,?(?:来|进行)?"
    r"(?:倒推|反推|逆推|倒着推|往回推)",
    r"既然(?:正确|标准)?(?:答案|选项)(?:是|为|应)",
    r"(?:由于|因为|鉴于)(?:正确|标准)(?:答案|选项)(?:是|为|应)",
    r"(?:与|和|跟|同|符合)(?:正确|标准|参考|给出的|给定的|已知的)(?:的)?(?:正确)?答案(?:一致|相符|吻合|相同|符合|匹配|[,。]|$)",
    r"(?:标准|参考)答案",
    r"我们?被(?:告知|告诉)|(?:被|事先|提前|预先)(?:告知|告诉|知道)[^。!?]{0,6}答案",
    r"用户(?:说|提到|给出|告诉|指出|提供|要求|认为|提示|纠正)|您(?:说|给|提供|告诉|提到|指出|的(?:提示|指正))",
    r"你(?:给出|提供|告诉我|指出|提到)(?:的|了|,|:)",
    # an earlier attempt
    rf"{_ZH_NOT_FROM}{_ZH_EARLIER}(?:我们?)?的?(?:错误)?的?(?:推理|分析|思路|判断|结论|推断|推导|理解|做法|解释|论证){_ZH_OF_IT}{{0,15}}{_ZH_WRONG}",
    rf"{_ZH_EARLIER}(?:我们?)?的?(?:错误的?)?(?:回答|答案|解答|作答)",
    rf"{_ZH_NOT_FROM}(?:上述|以上|前面|上面)的?(?:推理|回答|解答|答案|思路|分析)(?:(?!,){_ZH_OF_IT}){{0,12}}{_ZH_WRONG}",
    # 错误在于: but not 选项A的错误在于
    r"(?:^|[。!?;.:] ?|(?<![a-z]) |推理的?|分析的?)(?:这里的?|此处的?)?"
    r"(?:错误|失误)(?:之处)?(?:就|主要)?(?:在于|源于|出在)",
    r"[你您](?:说|讲|指出)[得的](?:很|完全)?(?:对|没错|正确|有道理)",
    r"我(?:之前|先前|此前|刚才|原先|最初|错误地|误)(?:地|也|曾)?(?:以为|认为|选|假设|得出|忽略|忽视|犯|推|判断|把|将|没)",
    r"我(?:犯|搞|弄|想|答|做|推理?)(?:了)?错|我的(?:错误|失误)",
    r"抱歉|(?:感谢|谢谢)您?你?的?(?:指正|提醒|纠正)",
    r"重新(?:作答|解答|回答|推理)|(?:修正|更正|纠正)后的?(?:推理|分析|答案|解答|回答)",
    r"(?:假装|仿佛|好像|就像|像)(?:是)?(?:我)?(?:第一次|首次|自己独立)",
)

_GIVEN_AWAY = re.compile("|".join((*_ENGLISH, *_CHINESE)))


def gives_away(text: str) -> bool:
    """Whether a completion, English or Chinese, speaks of an answer that was told or of an earlier wrong attempt.

    "The correct answer is C" and "it is given that Ann is older" do not; "since the given answer is C" does. It looks
    at words, so it is wrong now and then: what it lets pass is read in the training set, what it refuses is asked for
    again.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_QUOTES).translate(_MARKS).casefold()
    plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return _GIVEN_AWAY.search(" ".join(plain.split())) is not None
