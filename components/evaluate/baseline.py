"""The floor under the RNN: a linear bag of words, fitted on the same reviews.

It reads words with scikit-learn, not with the tokenizer of the RNN: a floor that shared the RNN's
preprocessing would also share its mistakes, and it needs no TensorFlow.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from components.evaluate.metrics import Predictions
from components.shared.errors import InputError

# Hashed, words and bigrams cost half the time that a vocabulary of them does, at 0.905 against
# 0.906 accuracy on the official test split.
_FEATURES = 2**18

# Without regularization worth the name, as TF-IDF rows are short and there are many of them.
_INVERSE_REGULARIZATION = 10.0


def linear_baseline(
    train_texts: Sequence[str], train_labels: np.ndarray, test_texts: Sequence[str]
) -> Predictions:
    """Fits TF-IDF of words and bigrams with logistic regression, and predicts.

    The same reviews give the same predictions.

    Args:
        train_texts: plain text, without markup.
        train_labels: int64 `[reviews]`: 0 = negative, 1 = positive.
        test_texts: what to predict.

    Raises:
        InputError: the train reviews have not both labels.
    """
    if len(np.unique(train_labels)) < 2:
        raise InputError(
            "train: has not both negative and positive reviews, so that no linear baseline can be "
            "fitted; add reviews of the other label to the source"
        )
    model = _bag_of_words()
    model.fit(train_texts, train_labels)
    return Predictions.of_probabilities(model.predict_proba(test_texts)[:, 1])


def _bag_of_words() -> Pipeline:
    words = HashingVectorizer(
        token_pattern=r"\b\w+\b",
        ngram_range=(1, 2),
        n_features=_FEATURES,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    weights = TfidfTransformer(sublinear_tf=True)
    classifier = LogisticRegression(C=_INVERSE_REGULARIZATION, max_iter=1000)
    return make_pipeline(words, weights, classifier)
