"""What gives away that a writer was told the answer, and what is honest reasoning."""

import time

import pytest

from errata.giveaway import gives_away

TOLD = [
    "As given, the correct answer is B.",
    "As stated in the prompt, the right answer is C.",
    "As provided, the answer is B because Ann is older.",
    "As mentioned above, the correct option is D.",
    "As you said, it is B.",
    "Since we are told that the answer is B, Ann must be older.",
    "We know Ann is older. Since we know that the correct answer is A, Paul owns the dog.",
    "Because we already know the answer is D, the others are wrong.",
    "We have been told that the correct answer is C.",
    "I was told the answer is B.",
    "I was given the correct answer, so I work backwards.",
    "The given answer is B.",
    "This leads to the given answer. The answer is B.",
    "To arrive at the given answer, compare Ann and Bob.",
    "The **provided answer** is C, which fits.",
    "The correct answer given is B.",
    "The correct answer was provided as B.",
    "The right answer has already been given.",
    "The answer is given as B.",
    "The answer was given in the question.",
    "The stated answer, B, follows from the text.",
    "The expected answer is C.",
    "Given that the correct answer is B, Bob is the youngest.",
    "Given the correct answer, Bob is the youngest.",
    "Since the correct answer is C, Paul cannot own the cat.",
    "Knowing that the answer is B, we look for a reason.",
    "According to the hint, Ann is older.",
    "According to the given answer, Ann is older.",
    "According to the answer key it is B.",
    "The hint says B.",
    "The user says that the right answer is C.",
    "The user's hint was helpful.",
    "This matches the correct answer.",
    "That is consistent with the right answer, B.",
    "I will write this as if I had found it myself.",
    "As if the answer had not been told: Ann is older.",
    "Solved as if for the first time: Ann is older.",
    "Without having been told the answer, I find B.",
    "You told me that it is B.",
    "My previous reasoning was wrong. The answer is B.",
    "My earlier answer was incorrect.",
    "In my first attempt, I overlooked the cat.",
    "Your initial analysis is flawed.",
    "The previous answer was C, but it is B.",
    "The reasoning above is wrong, since Ann is older.",
    "The previous reasoning overlooked Bob and is therefore incorrect.",
    "The mistake in the reasoning is that Ann is older.",
    "I made a mistake about Ann.",
    "I was wrong about Bob.",
    "I incorrectly assumed that Bob is older.",
    "I previously said that the answer is C.",
    "That is where I went wrong.",
    "I apologize for the confusion. The answer is B.",
    "Thank you for the correction.",
    "Here is the corrected reasoning: Ann is older.",
    "AS GIVEN, THE CORRECT ANSWER IS B.",
    "The\ngiven\u200b answer\nis B",
    "已知正确答案是B，所以甲比乙大。",
    "已知答案为C。",
    "题目给出的正确答案是B。",
    "题目已经给出了答案B，下面说明理由。",
    "给定的正确答案是C，因此……",
    "给定答案是C。",
    "根据提示，甲比乙大。",
    "根据给出的答案，甲比乙大。",
    "根据正确答案B，可知甲最大。",
    "按照您给的答案，应选B。",
    "既然答案是B，那么甲比乙大。",
    "由于正确答案是B，甲比乙大。",
    "因为我们已经知道答案是C，所以倒推。",
    "正确答案已给出，是B。",
    "答案已知是B。",
    "标准答案是B。",
    "这与正确答案一致。",
    "用户说正确答案是B。",
    "我被告知答案是B。",
    "之前的推理有误，现在重新分析。",
    "先前的分析忽略了甲，是错误的。",
    "之前的回答选了C。",
    "我的错误在于忽略了甲。",
    "我之前认为乙最大。",
    "我误把甲当成了乙。",
    "以上推理是错误的。",
    "下面重新推理：甲比乙大。",
    "修正后的推理：甲比乙大。",
    "抱歉，答案应该是B。",
    "像第一次做这道题一样，甲比乙大。",
]

HONEST = [
    "",
    "B",
    "The answer is B",
    "The correct answer is C.",
    "So the correct answer is C, because Paul owns a dog.",
    "Therefore, the right option is A.",
    "It is given that Ann is older than Bob. The answer is B.",
    "We are told that Paul owns a dog, so the answer is A.",
    "We are given three friends.",
    "Given that Ann is older than Bob, the answer is A.",
    "Since we know that Ann is older, the answer must be B.",
    "As stated in the text, Ann is older. The correct answer is B.",
    "As given in the text, Paul owns the dog; thus the answer is D.",
    "Among the given options, only B fits.",
    "None of the given answer choices but C fits.",
    "According to the text, Ann is older.",
    "According to the answer choices, only B mentions Paul.",
    "Based on the information provided, the answer is B.",
    "The information given is enough. The answer is B.",
    "The answer is not given in the text, so it is false. The answer is C.",
    "The answer is stated in the text: Paul owns a dog.",
    "To find the correct answer, we compare Ann and Bob.",
    "We need to find the right answer. To do so, look at the first statement.",
    "The first statement says that Ann is older. The first option is wrong.",
    "From the previous step, Bob is the youngest. The previous statement rules out C.",
    "Option A is wrong, because Ann is older. Option C is incorrect as well.",
    "If the answer were A, Ann would be younger, which is wrong.",
    "Paul told Ann that the cat is his. Ann was told that the dog is Paul's.",
    "Nobody else has a hint of blue. Therefore B.",
    "It is known that Bob is not the oldest.",
    "This means that the statement is wrong, so the answer is C.",
    "We can conclude that the correct answer is therefore B.",
    "This is why the correct answer is B.",
    "Assuming that Ann is older leads to a contradiction.",
    "He looked at the dog for the first time.",
    "Option A: this answer is incorrect, since Bob is older.",
    "因此答案是：A",
    "正确答案是C。",
    "所以正确答案为B。",
    "题目给出的条件是甲比乙大，因此答案是：A",
    "题目给出的条件可知答案是A。",
    "根据题目给出的信息，甲比乙大。",
    "根据题意，甲比乙大，由此给出答案：B。",
    "已知甲比乙大。因此答案是：B",
    "已知条件：甲比乙大，乙比丙大。",
    "给定的选项中只有B成立。",
    "根据答案选项，只有B提到丙。",
    "根据提示1，甲比乙大；根据提示2，丙最小。",
    "根据前面的分析，甲最大。因此答案是：A",
    "由上述推理可知，丙最小。",
    "选项A错误，因为甲比乙大。选项C也不对。",
    "假设甲在第一位，则与条件矛盾，所以假设错误。",
    "因为甲比乙大，所以答案是A。",
    "由于丙没有狗，答案应为D。",
    "最后给出正确答案：A。",
    "我们知道甲比乙大。",
    "选项A的错误在于把甲当成了乙。",
    "甲被告知乙在第二位。",
    "请看第一个条件：之前到的人是甲。",
]


@pytest.mark.parametrize("text", TOLD)
def test_speaking_of_a_told_answer_or_of_an_earlier_attempt_gives_away(text: str) -> None:
    assert gives_away(text)
    assert gives_away(f"Ann is older than Bob. 甲比乙大。\n{text}\nThe answer is B")


@pytest.mark.parametrize("text", HONEST)
def test_honest_reasoning_does_not(text: str) -> None:
    assert not gives_away(text)


def test_all_honest_texts_together_do_not_either() -> None:
    assert not gives_away("\n".join(HONEST))


@pytest.mark.parametrize(
    "piece",
    [
        "the ",
        "as if i ",
        "the given ",
        "the previous reasoning ",
        "我",
        "之前的推理",
        "已知",
        "a" * 50 + " ",
        "根据提示1",
        "\n",
    ],
)
def test_a_long_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    long = piece * (40_000 // len(piece))
    start = time.process_time()
    assert not gives_away(long)
    # 40,000 characters are more than a model writes in 8,000 tokens
    assert time.process_time() - start < 1.0
