"""What the voices say: endless sentences of our own making, English and Mandarin.

Half are grammar ("The patient baker may borrow five purple maps before breakfast."), for speech as it flows; half are random
words of a dictionary, for sounds in every neighbourhood. `HELD_OUT` are plain sentences that training never says.
"""

import gzip
import json
import random
from importlib.resources import files

HELD_OUT = {
    "en": [
        "Hello, my name is Mia, and I am happy to help you with your problem today.",
        "The old bridge by the market was closed, so both buses came half an hour late.",
        "Maybe we should compare the numbers again before somebody makes a bad choice.",
        "She poured the juice into a blue cup and gave it to her youngest brother.",
        "Please wait a moment while I look up the price of the yellow umbrella.",
        "Five thousand people watched the moon rise above the quiet harbour.",
        "If the weather stays warm, we could take the boat out on Saturday.",
        "Nobody remembers who wrote the first page of that enormous book.",
    ],
    "zh": [
        "您好，我叫小美，很高兴今天能帮您解决问题。",
        "市场旁边的老桥关闭了，所以两班公交车都晚了半个小时。",
        "我们买一点面包和苹果，明天早上带去爬山吧。",
        "妹妹把蓝色的杯子放在门边的木头桌子上。",
        "请稍等，我马上为您查一下这本书的价格。",
        "昨天晚上月亮很亮，许多人跑到海边拍照片。",
        "如果天气不错，周末我们可以坐船去岛上玩。",
        "没有人记得那部电影的名字，不过大家都很喜欢它。",
    ],
}

_EN = {
    "adj": "patient purple broken happy famous bitter careful empty gentle heavy lovely modern narrow proud quiet rapid smooth tiny "
    "useful warm young brave cheap distant early foolish golden humble icy jolly thick thin wide yellow large small",
    "one": "baker mayor pilot farmer woman teacher boy nurse painter shepherd judge chef guide poet rabbit monkey robot camel "
    "neighbour visitor father mother uncle fisherman plumber member machine bishop athlete thief",
    "verb": "borrow paint follow remember wash carry measure choose visit bring throw help push move make watch sharpen believe "
    "examine taste improve share wrap buy sell film bury observe polish juggle",
    "many": "maps boats mushrooms oranges bottles papers windows pumps engines feathers bicycles teapots blankets pearls vegetables "
    "jackets thoughts chairs pictures zebras beams tables movies shoes pies mirrors bulbs beverages measures apples",
    "number": "two three four five six seven eight nine ten eleven twelve thirteen forty fifty sixty ninety",
    "when": "before breakfast|after the opera|in the middle of April|by Monday morning|on the way home|every other week|during the "
    "storm|above the valley|under the maple tree|with both thumbs|near the public pool|without a map|beyond the mountain|at five "
    "past four|from time to time|for my mother|because of the bad beer",
    "start": "The|My|Perhaps the|Maybe her|Our|Why does nobody know that the|I believe the|Look, the|Well, the|Remember that the",
    "modal": "may|should|will|could|must never|would rather|used to|might possibly|has to|wants to|is about to",
}

_ZH = {
    "who": "我|你|他们|妈妈|爸爸|老师|朋友|服务员|小朋友|邻居|医生|我们班的同学|那位先生|王小明|我哥哥|女儿|司机|爷爷奶奶|这只猫|白色的马",
    "when": "今天|明天早上|去年冬天|每个周末|下班以后|吃饭之前|昨天半夜|现在|平时|八月十五号|春节的时候|不久以前|马上|偶尔|一年四季",
    "verb": "喜欢|想买|忘了带|发现了|表扬过|帮忙搬|认真学习|准备修理|拍摄|讨论|明白|抱着|摸了摸|批评|放下|捧着|比较|保护|描写|寻找",
    "what": "苹果|面包|蓝色的杯子|北方的风景|电影票|毛笔|人工智能|普通话|妹妹的皮包|漂亮的瀑布|一本旧书|木头桌子|热闹的市场|自行车|"
    "葡萄酒|玻璃门|不同的方法|宝贵的经验|很多问题|音乐|雨伞|数学题|月饼|飞机模型|中国历史|红色的毛衣|学校的操场|女儿的照片|牛奶|客户服务",
    "tail": "吧|吗|呢|，真不错|，没问题|，为什么不呢|，因为外面下雨了|，然后慢慢跑回家|，不过大家都很满意|，请稍等|，所以非常忙|，是不是|"
    "，特别方便|，其实不便宜|，你觉得怎么样|，祝你一路平安",
}


class English:
    """Sentences from a grammar and from the words of misaki's lexicon (as packed in hibari-tts)."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        with gzip.open(files("hibari") / "assets/lexicon_us_gold.json.gz") as packed:
            self.words = sorted(w for w in json.load(packed) if w.isalpha() and w.islower() and 2 < len(w) < 12)

    def _pick(self, key):
        listed = _EN[key]
        return self.random.choice(listed.split("|") if "|" in listed else listed.split())

    def sentence(self):
        if self.random.random() < 0.5:
            words = [self.random.choice(self.words) for _ in range(self.random.randint(7, 11))]
            if self.random.random() < 0.5:
                words[len(words) // 2] += ","
            return " ".join(words).capitalize() + "."
        pick = self._pick
        said = f"{pick('start')} {pick('adj')} {pick('one')} {pick('modal')} {pick('verb')} {pick('number')} {pick('adj')} {pick('many')}"
        return f"{said} {pick('when')}{self.random.choice('..?!')}"


class Mandarin:
    """Sentences from a grammar and from the commoner words of jieba's dictionary."""

    def __init__(self, seed):
        import jieba

        self.random = random.Random(seed)
        with open(files("jieba") / "dict.txt", encoding="utf-8") as listed:
            rows = (line.split(" ") for line in listed)
            self.words = sorted(w for w, count, _ in rows if 2 <= len(w) <= 4 and int(count) > 300)
        jieba.setLogLevel("ERROR")

    def sentence(self):
        if self.random.random() < 0.5:
            words = [self.random.choice(self.words) for _ in range(self.random.randint(6, 9))]
            words.insert(len(words) // 2, "，")
            return "".join(words) + "。"
        pick = lambda key: self.random.choice(_ZH[key].split("|"))  # noqa: E731
        first = f"{pick('when')}{pick('who')}{pick('verb')}{pick('what')}{pick('tail')}"
        if self.random.random() < 0.5:
            first += f"，{pick('who')}{pick('verb')}{pick('what')}"
        return first + "。"
