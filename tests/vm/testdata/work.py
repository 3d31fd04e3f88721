"""Computes for a while, with objects of many kinds; the time and a random seed play along."""
import hashlib, random, struct, sys, time

def work(rounds):
    table, text, began = {}, [], time.monotonic()
    chance = random.Random(7)
    for n in range(rounds):
        key = chance.randrange(1000)
        table.setdefault(key, []).append((n, chance.random()))
        if n % 97 == 0:
            text.append(hashlib.sha256(struct.pack('<q', n) + repr(table[key][-1]).encode()).hexdigest())
        if n % 5000 == 0:
            now = time.monotonic()
            if now < began or time.time() < 1e9:
                sys.exit('the time goes back')
            began = now
    return hashlib.sha256(''.join(text).encode()).hexdigest()

if len(sys.argv) > 1 and sys.argv[1] == 'files':
    work(100)
    for module in list(sys.modules.values()):
        for name in (getattr(module, '__file__', None), getattr(module, '__cached__', None)):
            if name:
                print(name)
else:
    print(work(int(sys.argv[1]) if len(sys.argv) > 1 else 200000))
