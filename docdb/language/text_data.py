"""What the words of text search are made from: stop words of each language, and the marks that belong to words.

What lives here: ``STOP_WORDS``, lists of the commonest function words, written for docdb, and ``MARKS``, the code points of the categories Mn and Mc as ranges
of hexadecimal numbers (places without a character joined). What it must not know: how text is split (``text_words``).

The entries of stored text indexes depend on these lists: a change needs a new ``textIndexVersion``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MARKS", "STOP_WORDS"]

STOP_WORDS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(words.split())
    for name, words in {
        "danish": """
        af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din disse dog du efter eller en end er et for fra ham han
        hans har havde have hende hendes her hos hun hvad hvis hvor i ikke ind jeg jer kom kunne man mange med meget men mig min mine mit mod ned
        noget nogle nu når og også om op os over på selv sig sin sine sit skal skulle som sådan thi til ud under var vi vil ville vor være været
        """,
        "dutch": """
        aan al alles als altijd andere ben bij daar dan dat de der deze die dit doch doen door dus een eens en er ge geen geweest haar had heb
        hebben heeft hem het hier hij hoe hun iemand iets ik in is ja je kan kon kunnen maar me meer men met mij mijn moet na naar niet niets nog nu
        of om omdat onder ons ook op over reeds te tegen toch toen tot u uit uw van veel voor want waren was wat werd wezen wie wil worden wordt zal
        ze zelf zich zij zijn zo zonder zou
        """,
        "english": """
        a about above after again against all am an and any are aren't as at be because been before being below between both but by can't cannot
        could couldn't did didn't do does doesn't doing don't down during each few for from further had hadn't has hasn't have haven't having he her
        here hers herself him himself his how i i'd i'll i'm i've if in into is isn't it it's its itself let's me more most mustn't my myself no nor
        not of off on once only or other ought our ours ourselves out over own same shan't she should shouldn't so some such than that that's the
        their theirs them themselves then there there's these they they're this those through to too under until up very was wasn't we were weren't
        what when where which while who whom why with won't would wouldn't you you're your yours yourself yourselves
        """,
        "finnish": """
        ei eivät emme en et ette että he heidän heidät heille heitä hän hänelle hänen hänet hänessä häntä itse ja johon joita joka joista jonka jos
        jota jotka kanssa keiden keitä keneen kenen ketkä ketä koska kuin kuka kun me meidän meidät meille meitä mihin mikä minkä minua minulla
        minulle minun minut minä missä mistä mitkä mitä mukaan mutta ne niiden niille niin niistä niitä noin nuo nyt näiden nämä näitä ole olemme
        olen olet olette oli olimme olin olisi olit olivat olla olleet ollut on ovat poikki se sekä sen siihen siinä siitä silti sinua sinulla
        sinulle sinun sinut sinä sitä tai te teidän teidät teille teitä tuo tähän tämä tämän tässä tästä tätä vaan vai vaikka yli
        """,
        "french": """
        ai aient as au aux avaient avait avec avez avons c ce ces d dans de des du elle en es est et eu eux fut ici il ils j je l la le les leur
        leurs lui m ma mais me mes moi mon même n ne nos notre nous on ont ou par pas pour qu que qui s sa se sera ses son sont suis sur t ta te tes
        toi ton tu un une vos votre vous y à étaient était été êtes être
        """,
        "german": """
        aber alle allem allen aller alles als also am an andere anderen auch auf aus bei bin bis bist da damit dann das dass dein deine dem den denn
        der des dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines er es euch euer für gegen
        hab habe haben hat hatte hatten hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in indem ins ist jede jedem jeden jeder
        jedes jene kann kein keine keinem keinen keiner können könnte machen man mein meine meinem meinen meiner mich mir mit muss musste nach nicht
        nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner selbst sich sie sind so solche soll sollte sondern sonst um und uns
        unser unsere unter viel vom von vor war waren warst was weil welche welchem welchen welcher wenn werde werden wie wieder will wir wird wirst
        wo wollen wollte während würde würden zu zum zur zwar zwischen über
        """,
        "hungarian": """
        a abban ahhoz ahogy ahol aki akik akkor alatt amely amelyek ami amikor annak arra az azok azon azt aztán azután azzal azért be belül benne
        bár csak de e ebben egy egyes egyik egyéb el ennek erre ez ezek ezen ezt ezzel ezért fel felé ha hanem hiszen hogy hogyan igen ill illetve
        is ki kívül le legyen lehet lenne lesz lett maga majd meg mellett mely mert mi mikor mind minden mindig mint mintha miért most már más még
        míg nagyon ne nekem neki nem nincs olyan ott pedig s saját sem semmi számára szemben szerint szinte talán te tehát ugyanis utolsó után utána
        vagy vagyis vagyok valaki valami valamint való van vannak vele vissza viszont volt voltak voltam volna át én és így ő ők őket össze úgy új
        újra
        """,
        "italian": """
        a abbia ad agli ai al alla alle allo anche avere aveva avevano c che chi ci come con contro cui d da dagli dai dal dall dalla dalle dallo
        degli dei del dell della delle dello di dov dove e ed era erano essere fu gli ha hai hanno ho i il in io l la le lei li lo loro lui ma mi
        mia mie miei mio ne negli nei nel nell nella nelle nello noi non nostra nostre nostri nostro o per perché più quale quanta quanto quella
        quelle quelli quello questa queste questi questo se sei si sia siamo siete sono sta stata stato su sua sue sugli sui sul sulla sulle sullo
        suo suoi ti tra tu tua tue tuo tuoi tutti tutto un una uno vi voi vostra vostro è
        """,
        "norwegian": """
        alle at av bare begge ble blei bli blir blitt både da de deg dei deim deira dem den denne der dere deres det dette di din disse ditt du dykk
        dykkar då eg ein eit ei eller elles en enn er et ett etter for fordi fra før ha hadde han hans har hennar henne hennes her hjå ho hun hva
        hvem hver hvilke hvilken hvis hvor hvordan hvorfor i ikke ikkje ingen ingi inkje inn inni ja jeg kan kom korleis kun kunne kva kvar kven kvi
        man mange me med medan meg meget mellom men mi min mine mitt mot mykje ned no noe noen noka noko nokon nokor nå når og også om opp oss over
        på samme seg selv si sia sidan siden sin sine sitt skal skulle slik so som somme somt så sånn til um upp ut uten var vart varte ved vere
        verte vi vil ville vore vors vort vår være vært å
        """,
        "portuguese": """
        a ao aos aquela aquelas aquele aqueles aquilo as até com como da das de dela delas dele deles depois do dos e ela elas ele eles em entre era
        eram essa essas esse esses esta estamos estas estava estavam este estes estou está estão eu foi fomos for foram há isso isto já lhe lhes
        mais mas me mesmo meu meus minha minhas muito na nas nem no nos nossa nossas nosso nossos num numa não nós o os ou para pela pelas pelo
        pelos por qual quando que quem se seja sem ser será seu seus sua suas são só também te tem temos tenho teu teus tinha tinham tu tua tuas tém
        um uma você vocês vos à às é éramos
        """,
        "romanian": """
        a abia acea aceasta această aceea acei aceia acel acela acele acelea acest acesta aceste acestea acestei acestor acestui acolo acum adică ai
        aici al ale am ar are as asta astea asupra au avea avem aveți aș când care cât ce cea cei cel cele ci cine cu cui cum dacă dar de deci deși
        din dintre doar după e ea ei el ele era este eu fără fi fie fiecare fiind fost foarte i iar îl îi în într însă la le li lor lui mai mea mei
        mele meu mi mie mult multe nici nimic noastră noștri nostru noi nu o or ori pe pentru peste prin sa să sau se si și sub sunt sus ta tale tău
        te tot toate toți totuși tu un una unde unei unor unui voi voastră vostru vă
        """,
        "russian": """
        а без более бы был была были было быть в вам вас весь во вот все всего всех вы где да даже для до его ее её если есть еще ещё же за здесь и
        из или им их к как ко когда кто ли либо мне может мы на надо наш не него нее нет ни них но ну о об однако он она они оно от очень по под при
        с со так также такой там те тем то того тоже той только том ты у уже хотя чего чей чем что чтобы чье чья эта эти это этого этой этом этот я
        """,
        "spanish": """
        a al algo algunas algunos ante antes como con contra cual cuando de del desde donde durante e el ella ellas ellos en entre era eran eras
        eres es esa esas ese eso esos esta estaba estaban estado estamos estar estas este esto estos estoy está están fue fueron ha habían había han
        has hasta hay he la las le les lo los me mi mis mucho muchos muy más mí nada ni no nos nosotros nuestra nuestras nuestro nuestros o os otra
        otras otro otros para pero poco por porque que quien quienes qué se sea sean ser será si sido sin sobre sois somos son soy su sus suya suyo
        sí también tanto te tengo tenía tiene tienen todo todos tu tus tuya tuyo tú un una uno unos vosotros vuestra vuestro y ya yo él
        """,
        "swedish": """
        alla allt att av blev bli blir blivit de dem den denna deras dess dessa det detta dig din dina ditt du där då efter ej eller en er era ert
        ett från för ha hade han hans har henne hennes hon honom hur här i icke ingen inom inte jag ju kan kunde man med mellan men mig min mina
        mitt mot mycket ni nu när någon något några och om oss på samma sedan sig sin sina sitta själv skulle som så sådan sådana sådant till under
        upp ut utan vad var vara varför varit varje vars vart vem vi vid vilka vilken vilket vår våra vårt än är åt över
        """,
        "turkish": """
        acaba ama ancak artık aslında az bana bazı belki ben benden beni benim beri bile bir birkaç biz bize bizden bizi bizim böyle bu buna bunda
        bundan bunlar bunu bunun burada çok çünkü da daha dahi de defa değil diye eğer en gibi göre hâlâ hangi hatta hem henüz hep hepsi her hiç
        için ile ise işte kadar karşın kendi kez ki kim kimse mı mi mu mü nasıl ne neden nerede niye o olan olarak oldu olduğu olmak olur ona ondan
        onlar onu onun orada oysa pek rağmen sana sanki sen seni senin siz sizi sizin şey şu şuna şunu tarafından tüm var ve veya ya yani yine yok
        zaten
        """,
        "none": "",
    }.items()
}

MARKS: Final = """
    300-36f 483-487 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 610-61a 64b-65f 670 6d6-6dc 6df-6e4 6e7-6e8 6ea-6ed 711 730-74a 7a6-7b0 7eb-7f3 7fd 816-819
    81b-823 825-827 829-82d 859-85b 898-89f 8ca-8e1 8e3-903 93a-93c 93e-94f 951-957 962-963 981-983 9bc 9be-9cd 9d7 9e2-9e3 9fe-a03 a3c-a51
    a70-a71 a75 a81-a83 abc abe-acd ae2-ae3 afa-b03 b3c b3e-b57 b62-b63 b82 bbe-bcd bd7 c00-c04 c3c c3e-c56 c62-c63 c81-c83 cbc cbe-cd6 ce2-ce3
    d00-d03 d3b-d3c d3e-d4d d57 d62-d63 d81-d83 dca-ddf df2-df3 e31 e34-e3a e47-e4e eb1 eb4-ebc ec8-ecd f18-f19 f35 f37 f39 f3e-f3f f71-f84
    f86-f87 f8d-fbc fc6 102b-103e 1056-1059 105e-1060 1062-1064 1067-106d 1071-1074 1082-108d 108f 109a-109d 135d-135f 1712-1715 1732-1734
    1752-1753 1772-1773 17b4-17d3 17dd 180b-180d 180f 1885-1886 18a9 1920-193b 1a17-1a1b 1a55-1a7f 1ab0-1abd 1abf-1b04 1b34-1b44 1b6b-1b73
    1b80-1b82 1ba1-1bad 1be6-1bf3 1c24-1c37 1cd0-1cd2 1cd4-1ce8 1ced 1cf4 1cf7-1cf9 1dc0-1dff 20d0-20dc 20e1 20e5-20f0 2cef-2cf1 2d7f 2de0-2dff
    302a-302f 3099-309a a66f a674-a67d a69e-a69f a6f0-a6f1 a802 a806 a80b a823-a827 a82c a880-a881 a8b4-a8c5 a8e0-a8f1 a8ff a926-a92d a947-a953
    a980-a983 a9b3-a9c0 a9e5 aa29-aa36 aa43 aa4c-aa4d aa7b-aa7d aab0 aab2-aab4 aab7-aab8 aabe-aabf aac1 aaeb-aaef aaf5-aaf6 abe3-abea abec-abed
    fb1e fe00-fe0f fe20-fe2f 101fd 102e0 10376-1037a 10a01-10a0f 10a38-10a3f 10ae5-10ae6 10d24-10d27 10eab-10eac 10f46-10f50 10f82-10f85
    11000-11002 11038-11046 11070 11073-11074 1107f-11082 110b0-110ba 110c2 11100-11102 11127-11134 11145-11146 11173 11180-11182 111b3-111c0
    111c9-111cc 111ce-111cf 1122c-11237 1123e 112df-112ea 11300-11303 1133b-1133c 1133e-1134d 11357 11362-11374 11435-11446 1145e 114b0-114c3
    115af-115c0 115dc-115dd 11630-11640 116ab-116b7 1171d-1172b 1182c-1183a 11930-1193e 11940 11942-11943 119d1-119e0 119e4 11a01-11a0a
    11a33-11a39 11a3b-11a3e 11a47 11a51-11a5b 11a8a-11a99 11c2f-11c3f 11c92-11cb6 11d31-11d45 11d47 11d8a-11d97 11ef3-11ef6 16af0-16af4
    16b30-16b36 16f4f 16f51-16f92 16fe4-16ff1 1bc9d-1bc9e 1cf00-1cf46 1d165-1d169 1d16d-1d172 1d17b-1d182 1d185-1d18b 1d1aa-1d1ad 1d242-1d244
    1da00-1da36 1da3b-1da6c 1da75 1da84 1da9b-1daaf 1e000-1e02a 1e130-1e136 1e2ae 1e2ec-1e2ef 1e8d0-1e8d6 1e944-1e94a
"""
