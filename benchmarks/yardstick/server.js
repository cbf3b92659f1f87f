'use strict';

// A straightforward Node intake: parse, validate with every error, serialise as for a producer, respond with 201.
// Usage: node server.js SCHEMA.json PORT                                        stores nothing
//        node server.js SCHEMA.json PORT BROKERS TOPIC [POLL_MILLISECONDS]      answers when Kafka has every event

const fs = require('node:fs');
const express = require('express');
const Ajv = require('ajv');

const [schemaPath, port, brokers, topic, pollMilliseconds] = process.argv.slice(2);
const schema = JSON.parse(fs.readFileSync(schemaPath, 'utf8'));
const validators = new Map([[schema.$id, new Ajv({ allErrors: true }).compile(schema)]]);

// Resolves to a function that stores one event's bytes and resolves once the broker has reported them delivered.
function producer() {
    const Kafka = require('node-rdkafka');
    const made = new Kafka.Producer(
        {
            'metadata.broker.list': brokers,
            'enable.idempotence': true,
            'compression.codec': 'snappy',
            'queue.buffering.max.ms': 5,
            dr_cb: true,
        },
        { acks: -1 },
    );
    made.on('delivery-report', (error, report) => report.opaque(error));
    return new Promise((resolve, reject) => {
        made.once('event.error', reject);
        made.connect({}, (error) => (error ? reject(error) : undefined));
        made.once('ready', () => {
            made.setPollInterval(Number(pollMilliseconds || 100));
            resolve(
                (bytes) =>
                    new Promise((stored, failed) => {
                        const told = (error) => (error ? failed(error) : stored());
                        made.produce(topic, null, bytes, null, Date.now(), told);
                    }),
            );
        });
    });
}

// What would be passed to a broker: one buffer per event.
async function accept(event, store) {
    const validate = validators.get(event.$schema);
    if (!validate) {
        return { event, reason: `no schema ${event.$schema}` };
    }
    if (!validate(event)) {
        return { event, reason: validate.errors.map((e) => `'${e.dataPath}' ${e.message}`).join(', ') };
    }
    const bytes = Buffer.from(JSON.stringify(event));
    if (store) {
        await store(bytes);
    }
    return { bytes };
}

async function main() {
    const store = brokers ? await producer() : null;
    const app = express();
    app.disable('x-powered-by');
    app.use(express.json({ limit: '10mb' }));

    app.post('/v1/events', async (req, res) => {
        const events = Array.isArray(req.body) ? req.body : [req.body];
        const results = await Promise.all(events.map((event) => accept(event, store)));
        const invalid = results.filter((result) => result.reason);
        if (invalid.length === 0) {
            res.statusMessage = `All ${events.length} out of ${events.length} events were accepted.`;
            res.status(201).end();
        } else {
            res.status(invalid.length === events.length ? 400 : 207).json({ invalid });
        }
    });

    app.listen(Number(port), '127.0.0.1');
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
