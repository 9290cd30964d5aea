import pytest

from imgcap.evaluation.variety import compare_variety, template, variety


def test_a_template_keeps_the_words_that_hold_a_sentence_together():
    assert template("A brown dog runs on the grass .") == "a - - - on the -"


def test_captions_that_differ_in_content_words_alone_share_a_template():
    captions = ["A dog runs .", "a cat sleeps", "A dog runs", "Two children are playing in the snow ."]
    measured = variety(captions)
    assert measured["distinct"] == 3 / 4  # capitals and full stops make no other caption
    assert measured["words"] == 12
    assert measured["length"] == (3 + 3 + 3 + 7) / 4
    assert measured["in_commonest_templates"] == 1


def test_templates_beyond_the_commonest_five_are_no_cliches():
    captions = [" ".join(["dog"] * length) for length in range(1, 8)]  # seven templates, one caption each
    captions += ["cat"] * 3
    assert variety(captions)["in_commonest_templates"] == pytest.approx((4 + 1 + 1 + 1 + 1) / 10)


def test_people_are_measured_with_one_caption_an_image_too():
    references = [["a dog", "a dog runs", "one more"], ["a dog", "a cat sits"]]
    people = compare_variety(["a dog", "a dog"], references)["people"]
    assert people["distinct"] == pytest.approx((1 / 2 + 1) / 2)  # the first references are alike, the second ones not
    assert people["length"] == pytest.approx((2 + 3) / 2)
