"""Measures in two studies: as loops have it, read strictly, and what is left out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.columns import about
from analysis.figures import Lacking
from analysis.figures import replication as figure
from analysis.load import InputError
from analysis.statistics.beside.replication import Other, order_in_both, replication
from analysis.studies.reader import read_shown
from analysis.tables import replication as table
from analysis.tables import replication_measures
from study.storage.paths import published_studies

LABELS = ("relative_flatness", "hessian_trace", "lambda_max", "train_loss", "l2")


@pytest.fixture(scope="module")
def here() -> pd.DataFrame:
    return made(0)


@pytest.fixture(scope="module")
def there() -> Other:
    return Other("elsewhere", "Elsewhere", "loss_0.1", {"loss_0.1": made(1).assign(stop="loss_0.1")})


def made(seed: int) -> pd.DataFrame:
    """3 learning rates x 3 batch sizes x 2 seeds; each measure goes with the gap as its place says, more or less."""
    r = np.random.default_rng(seed)
    rows = []
    for lr, batch, number in itertools.product((0.1, 0.2, 0.4), (8, 16, 32), range(2)):
        gap = lr + batch / 64 + 0.1 * r.normal()
        own = {f"measure.{m}": (2 - at) * gap + 0.2 * r.normal() for at, m in enumerate(LABELS)}
        hp = {"hp.lr": lr, "hp.batch_size": batch, "hp.seed": number}
        rows.append({"key": f"{lr}{batch}{number}", "stop": "loss_0.01", **hp, "gap.loss": gap, **own})
    return pd.DataFrame(rows)


def test_both_columns_and_their_order_are_those_of_scipy(here, there):
    both = replication(here, there.kept["loss_0.1"], "gap.loss", resamples=200)
    assert list(both["measure"]) == list(LABELS)
    for frame, column in ((here, "tau_b"), (there.kept["loss_0.1"], "there_tau_b")):
        expected = [stats.kendalltau(frame[f"measure.{m}"], frame["gap.loss"]).statistic for m in LABELS]
        assert both[column].tolist() == pytest.approx(expected)
        assert (both[f"{column}.low"] < both[f"{column}.high"]).all()
    found = order_in_both(both)
    assert found["order"] == pytest.approx(stats.kendalltau(both["tau_b"], both["there_tau_b"]).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(both["tau_b"], both["there_tau_b"]).statistic)
    signs = np.sign(both["tau_b"]) == np.sign(both["there_tau_b"])
    assert found["measures"] == 5 and found["same_sign"] == signs.sum()
    first = both["tau_b"].idxmax()
    assert found["rank_there"] == 1 + (both["there_tau_b"] > both["there_tau_b"][first]).sum()
    assert found["first_there"] == both["there_tau_b"][first] != both["tau_b"][first]
    told = both.assign(**{"tau_b.low": [0.1, 0.2, 0.0, -0.1, 0.1], "there_tau_b.low": [0.1, -0.1, -0.2, 0.0, -0.3]})
    counts = ("above_zero", "there_above_zero", "both_above_zero")
    assert [order_in_both(told)[name] for name in counts] == [3, 1, 1]
    assert found["both_above_zero"] == sum((both["tau_b.low"] > 0) & (both["there_tau_b.low"] > 0))


def test_what_says_nothing_is_left_out_and_forms_of_one_count_once(here, there):
    few = here.assign(**{"measure.l2": np.where(np.arange(len(here)) < 8, here["measure.l2"], np.nan)})
    same = few.assign(**{"measure.train_loss": 1.0, "measure.hessian_frobenius": few["measure.lambda_max"] * 2})
    twice = there.kept["loss_0.1"]["measure.lambda_max"] * 2
    other = there.kept["loss_0.1"].assign(**{"measure.hessian_frobenius": twice, "measure.param_norm": twice})
    both = replication(same, other, "gap.loss", resamples=0)
    assert list(both["measure"]) == ["relative_flatness", "hessian_trace", "lambda_max", "hessian_frobenius"]
    assert order_in_both(both)["measures"] == 3
    another = replication(
        same.rename(columns={"measure.hessian_frobenius": "measure.param_norm"}), other, "gap.loss", 0
    )
    assert order_in_both(another)["measures"] == 4, "a norm is no form of an eigenvalue"
    assert order_in_both(both.iloc[:2]) == {} == order_in_both(replication(here, other, "gap.error"))
    copies = replication(
        here.assign(**{"measure.l2@layerwise_1": 1.0 * here["gap.loss"]}), there.kept["loss_0.1"], "gap.loss", 0
    )
    assert "l2@layerwise_1" not in set(copies["measure"])


def test_tables_and_figure_show_each_study_beside_it_and_say_what_they_lack(here, there):
    both = replication(here, there.kept["loss_0.1"], "gap.loss", resamples=100)
    found = table.build(here, [there], resamples=100)
    assert (
        (found["there_stop"] == "loss_0.1").all()
        and found["other"].tolist() == ["elsewhere"]
        and found["order"][0] == order_in_both(both)["order"]
    )
    same = replace(there, kept={**there.kept, "loss_0.01": made(2)})
    assert table.build(here, [same], resamples=0)["there_stop"].tolist() == ["loss_0.01"], "the same stop where it is"
    each = replication_measures.build(here, [there], resamples=100)
    assert each["there_tau_b"].tolist() == both["there_tau_b"].tolist()
    assert "Elsewhere at loss_0.1, 18 networks" in each.attrs["note"]
    drawn = figure.build(here, [there, replace(there, name="more")], resamples=100)
    assert len(drawn.axes) == 2 and f"{len(both)} measures" in drawn.axes[0].get_title()
    asked = about(here, "gap.loss")
    assert table.build(asked, [there], resamples=0)["target"].tolist() == ["gap.loss"]
    for one in (table, replication_measures):
        assert "beside" in one.build(here, ()).attrs["lacks"]
    with pytest.raises(Lacking, match="beside"):
        figure.build(
            here, [replace(there, kept={"loss_0.1": there.kept["loss_0.1"].drop(columns="gap.loss")})], resamples=0
        )


def test_studies_beside_are_published_ones(tmp_path):
    name = published_studies()[0]
    (tmp_path / "mine.yaml").write_text(f"items: [replication]\nbeside: [{name}]\n")
    assert read_shown("mine", tmp_path).others[0].name == name
    for bad in ("nowhere", "mine", "[1]"):
        (tmp_path / "mine.yaml").write_text(f"items: [replication]\nbeside: [{bad}]\n")
        with pytest.raises(InputError, match=r"mine\.yaml: beside: .*: allowed are"):
            read_shown("mine", tmp_path)
