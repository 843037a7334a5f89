from patchshift.report.grammar import agree, count, name_all


def test_nouns_and_verbs_agree_with_their_number():
    assert [count(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert [count(number, "category", "categories") for number in (1, 2)] == ["1 category", "2 categories"]
    assert [agree(number, "is", "are") for number in (0, 1, 2)] == ["are", "is", "are"]


def test_what_is_named_has_a_verb_that_agrees():
    assert name_all("Split", ["A"], "moves", "move") == "Split A moves"
    assert name_all("Split", ["A", "B"], "moves", "move") == "Splits A and B move"
    assert name_all("Backbone", ["A", "B", "C"], "has", "have") == "Backbones A, B and C have"
