'use strict';

// The obvious Node intake: parse, validate with every error, serialise as a producer would be handed it, answer 201.
// Usage: node server.js SCHEMA.json PORT

const fs = require('node:fs');
const express = require('express');
const Ajv = require('ajv');

const [schemaPath, port] = process.argv.slice(2);
const schema = JSON.parse(fs.readFileSync(schemaPath, 'utf8'));
const validators = new Map([[schema.$id, new Ajv({ allErrors: true }).compile(schema)]]);

// What would be handed to a broker: one buffer per event. Nothing is stored.
async function accept(event) {
    const validate = validators.get(event.$schema);
    if (!validate) {
        return { event, reason: `no schema ${event.$schema}` };
    }
    if (!validate(event)) {
        return { event, reason: validate.errors.map((e) => `'${e.dataPath}' ${e.message}`).join(', ') };
    }
    return { bytes: Buffer.from(JSON.stringify(event)) };
}

const app = express();
app.disable('x-powered-by');
app.use(express.json({ limit: '10mb' }));

app.post('/v1/events', async (req, res) => {
    const events = Array.isArray(req.body) ? req.body : [req.body];
    const results = await Promise.all(events.map(accept));
    const invalid = results.filter((result) => result.reason);
    if (invalid.length === 0) {
        res.statusMessage = `All ${events.length} out of ${events.length} events were accepted.`;
        res.status(201).end();
    } else {
        res.status(invalid.length === events.length ? 400 : 207).json({ invalid });
    }
});

app.listen(Number(port), '127.0.0.1');
